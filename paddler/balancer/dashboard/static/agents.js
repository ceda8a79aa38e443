/* The list of agents: which are shown, and as what. */
import { byId, button, el, icon, setAttr, setKids, setText, show } from './dom.js';
import { count } from './figures.js';
import { model, resting, trouble } from './fleet.js';
import { AgentMap } from './map.js';
import { Rows } from './rows.js';
import { Why } from './why.js';

/** @typedef {import('./fleet.js').Agent} Agent @typedef {import('./scene.js').Scene} Scene */

/** Above so many the map is shown. */
const ROWS_UP_TO = 200;

/** @type {Record<string, (a: Agent, now: number) => boolean>} */
const KINDS = {
  all: () => true,
  trouble: (a, now) => trouble(a, now) !== '',
  ready: a => a.state === 'ready',
  full: a => a.state === 'full',
  resting: a => resting(a),
  draining: a => a.draining,
};
const CHIPS = [
  ['all', 'All', '', ''], ['trouble', 'Trouble', 'issue', 'quarantined'], ['ready', 'Ready', 'ready', 'ready'], ['full', 'Full', 'full', 'full'],
  ['resting', 'Loading or asleep', 'sleeping', 'sleeping'], ['draining', 'Draining', 'draining', 'draining'],
];

const compare = new Intl.Collator('en', { numeric: true }).compare;
/** Names as people order them. @param {Agent} a @param {Agent} b */
const byName = (a, b) => compare(a.agent_name, b.agent_name) || (a.agent_id < b.agent_id ? -1 : 1);

export class AgentList {
  /** @param {(id: string) => void} ask drains or resumes @param {() => void} changed called when something else was chosen */
  constructor(ask, changed) {
    this._changed = changed;
    this._only = 'all';
    /** @type {'' | 'rows' | 'map' | 'why'} */
    this._view = '';
    /** @type {Rows | AgentMap | null} */
    this._shown = null;
    /** All agents' ids, by their names; and what they were put in order for. @type {string[]} */
    this._order = [];
    this._shape = -1;
    this._rows = new Rows(ask);
    this._map = new AgentMap(ask);
    this._why = new Why();
    this._nobody = el('p', 'more', 'No agent matches. Clear the filter to see all.');
    this._find = /** @type {HTMLInputElement} */ (byId('find'));
    /** @type {Map<string, {node: HTMLElement, text: Text}>} */
    this._chips = new Map(CHIPS.map(([key, label, ic, cls]) => [key, this._chip(key, label, ic, cls)]));
    byId('chips').append(...[...this._chips.values()].map(chip => chip.node));
    for (const view of /** @type {const} */ (['rows', 'map', 'why'])) {
      byId(`as-${view}`).onclick = () => { this._view = view; changed(); };
    }
    this._find.oninput = changed;
    this._map.node.addEventListener('pointed', changed);
    addEventListener('keydown', event => this._key(event));
  }

  /** Show one agent. @param {string} name */
  pick(name) {
    this._find.value = name;
    this._only = 'all';
    if (this._view === 'why') this._view = '';
    this._changed();
    byId('agents').scrollIntoView({ block: 'nearest' });
  }

  /** @param {Scene} scene */
  draw(scene) {
    show(byId('agents'), scene.agents.size > 0);
    if (!scene.agents.size) scene.lookAtDecisions(false);
    if (!scene.agents.size) return;
    const now = scene.now();
    if (scene.shape !== this._shape) {
      this._order = [...scene.agents.values()].sort(byName).map(a => a.agent_id);
      this._shape = scene.shape;
    }
    const text = this._find.value.trim().toLowerCase();
    if (this._drawWhy(scene, text)) return;
    const all = this._order.map(id => /** @type {Agent} */ (scene.agents.get(id)));
    this._count(all, now);
    const chosen = all.filter(a => KINDS[this._only](a, now) && (!text || inText(a).includes(text)));
    const asked = this._view === 'why' ? '' : this._view;
    const view = asked || (chosen.length > ROWS_UP_TO ? 'map' : 'rows');
    setAttr(byId('as-rows'), 'aria-pressed', String(view === 'rows'));
    setAttr(byId('as-map'), 'aria-pressed', String(view === 'map'));
    const shown = view === 'map' ? this._map : this._rows;
    const key = `${this._only} ${text}`;
    if (view === 'map') this._map.draw(chosen, `${key} ${scene.shape} ${this._only === 'all' ? '' : chosen.map(a => a.agent_id)}`, now);
    else this._rows.draw(chosen, key, now);
    setKids(byId('list'), [chosen.length ? shown.node : this._nobody]);
    this._shown = shown;
  }

  /** The decisions in place of the agents, if they are asked for and there are some. @param {Scene} scene @param {string} text */
  _drawWhy(scene, text) {
    const some = [...scene.agents.values()].some(a => a.prompts);
    const shown = some && this._view === 'why';
    show(byId('as-why'), some);
    show(byId('chips'), !shown);
    setAttr(byId('as-why'), 'aria-pressed', String(shown));
    setText(byId('listed'), shown ? 'Last requests' : 'Agents');
    scene.lookAtDecisions(shown);
    if (!shown) return false;
    for (const view of ['rows', 'map']) setAttr(byId(`as-${view}`), 'aria-pressed', 'false');
    this._shown = null;
    this._why.draw(scene.decisions, text);
    setKids(byId('list'), [this._why.node]);
    return true;
  }

  /** Patch some of what is to be drawn. @param {Scene} scene @returns {boolean} there is more */
  slice(scene) {
    return this._shown !== null && this._shown.slice(scene.now());
  }

  /** @param {string} key @param {string} label @param {string} ic @param {string} cls */
  _chip(key, label, ic, cls) {
    const node = button('chip', '', () => { this._only = key; this._changed(); });
    const text = document.createTextNode(label);
    if (ic) node.append(icon(ic, cls));
    node.append(text);
    return { node, text };
  }

  /** @param {Agent[]} all @param {number} now */
  _count(all, now) {
    for (const [key, label] of CHIPS) {
      const n = all.reduce((sum, a) => sum + Number(KINDS[key](a, now)), 0);
      const chip = /** @type {{node: HTMLElement, text: Text}} */ (this._chips.get(key));
      show(chip.node, n > 0 || key === 'all' || key === this._only);
      setText(chip.text, `${label} ${count(n)}`);
      setAttr(chip.node, 'aria-pressed', String(key === this._only));
    }
  }

  /** `/` goes to the filter, Escape clears it. @param {KeyboardEvent} event */
  _key(event) {
    const at = document.activeElement;
    if (event.key === '/' && !event.ctrlKey && !event.metaKey && at?.tagName !== 'INPUT' && !byId('agents').hidden) {
      this._find.focus();
      event.preventDefault();
    } else if (event.key === 'Escape' && (at === this._find || this._find.value) && !document.querySelector('dialog[open]')) {
      this._find.value = '';
      this._find.blur();
      this._changed();
    }
  }
}

/** What the filter looks through. @param {Agent} a */
const inText = a => `${a.agent_name} ${a.external_llamacpp_addr} ${model(a)}`.toLowerCase();
