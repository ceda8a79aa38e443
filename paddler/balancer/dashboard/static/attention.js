/* What needs attention: one card for each kind of trouble, with what to do about it. */
import { hasToken } from './api.js';
import { byId, button, command, el, icon, setClass, setKids, setRich, setText, show } from './dom.js';
import { count, secs, span, waited } from './figures.js';
import { adviceFor, detail, issueOf, port, serving } from './fleet.js';
import { BLOCKED, ISSUES, SERVED } from './words.js';

/** @typedef {import('./scene.js').Scene} Scene @typedef {import('./fleet.js').Agent} Agent @typedef {import('./fleet.js').Facts} Facts */

/**
 * What a card says.
 * @typedef {{key: string, bad: boolean, title: string, agents: Agent[], extra: string, why: string, todo: string, fix: string}} Matter
 */

/** So many agents of a kind are named. */
const FEW = 3;

class Card {
  /** @param {(name: string) => void} pick */
  constructor(pick) {
    this._pick = pick;
    this._title = el('h2');
    this._extra = el('span');
    this._names = el('span');
    /** The first few agents, by name; they are kept, so that focus stays where it is. @type {Map<string, {node: HTMLElement, comma: Text}>} */
    this._shown = new Map();
    this._more = el('span');
    this._who = el('span', 'who', this._names, this._more, this._extra);
    this._why = el('p', 'why');
    this._todo = el('p');
    this._fix = command();
    const open = button('ghost more-do', 'What to do', () => {
      open.setAttribute('aria-expanded', String(this.node.classList.toggle('open')));
    });
    open.setAttribute('aria-expanded', 'false');
    this.node = el('article', 'issue', icon('issue', ''),
      el('div', 'what', el('div', 'head', this._title, this._who), this._why, open), el('div', 'do', this._todo, this._fix.node));
  }

  /** @param {Matter} matter */
  patch(matter) {
    const open = this.node.classList.contains('open') ? ' open' : '';
    setClass(this.node, `issue${matter.bad ? ' bad' : ''}${open}`);
    const n = matter.agents.length;
    setText(this._title, matter.title + (n > 1 ? ` (${count(n)} agents)` : ''));
    this._list(matter.agents.map(a => a.agent_name));
    setText(this._extra, matter.extra && n ? `, ${matter.extra}` : matter.extra);
    setRich(this._why, matter.why);
    setRich(this._todo, matter.todo);
    this._fix.set(matter.fix);
  }

  /** @param {string} name @param {Text} comma */
  _one(name, comma) {
    const node = button('', name, () => this._pick(name));
    node.title = name;
    return el('span', '', comma, node);
  }

  /** @param {string[]} names */
  _list(names) {
    this._shown = new Map(names.slice(0, FEW).map((name, n) => {
      const comma = this._shown.get(name)?.comma ?? document.createTextNode('');
      const node = this._shown.get(name)?.node ?? this._one(name, comma);
      setText(comma, n ? ', ' : '');
      return [name, { node, comma }];
    }));
    setKids(this._names, [...this._shown.values()].map(({ node }) => node));
    setText(this._more, names.length > FEW ? ` and ${count(names.length - FEW)} more` : '');
  }
}

/** @type {Map<string, Card>} */
const cards = new Map();

/** @param {Scene} scene @param {Facts} f @param {(name: string) => void} pick shows one agent */
export function drawAttention(scene, f, pick) {
  const matters = [...ofFleet(scene, f), ...ofAgents(scene)];
  for (const key of cards.keys()) if (!matters.some(m => m.key === key)) cards.delete(key);
  const nodes = matters.map(matter => {
    const card = cards.get(matter.key) ?? new Card(pick);
    cards.set(matter.key, card);
    card.patch(matter);
    return card.node;
  });
  setKids(byId('attention'), nodes);
  show(byId('attention'), nodes.length > 0);
}

/** @param {Scene} scene @param {Facts} f @returns {Matter[]} */
function ofFleet(scene, f) {
  const { requests_waiting: n, limit } = scene.queue;
  if (!scene.agents.size || !n) return [];
  const each = Math.max(1, Math.round(f.total / scene.agents.size));
  const fewer = f.trouble ? 'Bring back the agents below, or start' : 'Start';
  const remedy = {
    agents: [], bad: true,
    todo: `${fewer} about ${count(Math.ceil(n / each))} more like them:`, fix: agentCommand(scene),
  };
  const found = [];
  const timeout = scene.timeout();
  const oldest = scene.oldest();
  if (n >= limit) {
    found.push({
      ...remedy, key: 'buffer', title: 'Requests are turned away', extra: '',
      why: `The buffer is full (${count(n)} of ${count(limit)}): new ones get 429. A larger one is \`--request-buffer-size\`.`,
    });
  }
  if (oldest > timeout / 2) {
    found.push({
      ...remedy, key: 'waiting', title: 'Requests wait too long', extra: `oldest ${waited(oldest)} of ${count(timeout)} s`,
      why: `Demand is ${count(f.busy + n)} slots, ${count(f.usable)} can be used. At ${count(timeout)} s a request fails with 504.`,
    });
  }
  return found;
}

/** @param {Scene} scene @returns {Matter[]} */
function ofAgents(scene) {
  const now = scene.now();
  /** @type {Map<string, {issue: string, agents: Agent[]}>} */
  const groups = new Map();
  for (const agent of scene.agents.values()) {
    const issue = issueOf(agent, now);
    if (!issue) continue;
    const key = `${adviceFor(issue)}, ${serving(agent) ? 'served' : 'blocked'}`;
    const group = groups.get(key) ?? { issue: adviceFor(issue), agents: [] };
    group.agents.push(agent);
    groups.set(key, group);
  }
  const found = [...groups].map(([key, { issue, agents }]) => matter(key, issue, agents, now));
  return found.sort((a, b) => Number(b.bad) - Number(a.bad) || b.agents.length - a.agents.length || (a.key < b.key ? -1 : 1));
}

/** @param {string} key @param {string} issue @param {Agent[]} agents @param {number} now @returns {Matter} */
function matter(key, issue, agents, now) {
  const advice = ISSUES[issue];
  agents.sort((a, b) => (a.agent_name < b.agent_name ? -1 : 1));
  const served = serving(agents[0]);
  return {
    key, agents, bad: Boolean(advice.bad) && !served, title: advice.title,
    extra: agents.length === 1 ? extra(agents[0], issue, now) : '',
    why: advice.whole ? advice.why : `${advice.why} ${served ? SERVED : BLOCKED}`,
    todo: advice.todo, fix: advice.fix(port(agents[0])),
  };
}

/** @param {Agent} agent @param {string} issue @param {number} now */
function extra(agent, issue, now) {
  if (issue === 'stale') return `last report ${secs(Math.max(1, now - agent.last_update))} ago`;
  const since = agent.issues.find(i => adviceFor(i) === issue)?.since ?? now;
  return (serving(agent) ? '' : detail(agent, now)) || (now - since >= 1 ? `for ${span(now - since)}` : '');
}

/** The command that starts an agent which reports here. @param {Scene} scene */
export function agentCommand(scene) {
  const { hostname, pathname, port, protocol } = location;
  const [usual, scheme] = protocol === 'https:' ? ['443', ' --management-scheme https'] : ['80', ''];
  // Below a path this came through a web server, which may know nothing of agents.
  const where = pathname === '/dashboard' ? `${port || usual}${scheme}` : scene.managementPort() || '8085';
  const token = hasToken() ? ' --management-token-file FILE' : '';
  return `paddler agent --management-host ${hostname.replace(/[[\]]/g, '')} --management-port ${where}${token}`;
}
