/* The first thing anyone reads: one sentence, worst news first. Also the tab's title. */
import { hasToken } from './api.js';
import { byId, el, setClass, setRich, setText, show } from './dom.js';
import { model } from './fleet.js';
import { clock, count, many, secs, span, waited } from './figures.js';
import { STATES } from './words.js';

/** @typedef {import('./scene.js').Scene} Scene @typedef {import('./fleet.js').Facts} Facts */

/**
 * @typedef {object} Verdict
 * @property {string} kind what it is about; a reader is told when this changes
 * @property {[string, string][]} parts pieces of text and their mood
 * @property {string} more the line below
 */

/** Seconds between two things said aloud. */
const QUIET = 10;

/** @param {Scene} scene @returns {[string, string]} */
function wait(scene) {
  const n = scene.queue.requests_waiting;
  if (!n) return ['Nobody is waiting', ''];
  const oldest = scene.oldest();
  return [`${many(n, 'request')} waiting, the oldest for ${waited(oldest)}`, oldest > scene.timeout() / 2 ? 'bad' : 'warn'];
}

/** Models that are told of at most. */
const MODELS = 3;

/** For what they wait, where that is not the only thing there is. @param {Scene} scene */
function waitingFor(scene) {
  const wanted = Object.entries(scene.queue.models ?? {}).sort(([, a], [, b]) => b - a);
  if (!wanted.length) return '';
  const there = new Set([...scene.agents.values()].flatMap(a => a.models));
  const ids = new Set([...scene.agents.values()].map(model));
  if (ids.size < 2 && wanted.every(([name]) => there.has(name))) return '';
  const words = wanted.slice(0, MODELS).map(([name, n]) => `${count(n)} for \`${name.replaceAll('`', "'")}\`${there.has(name) ? '' : ', which no agent has'}`);
  const more = wanted.length - MODELS;
  return ` Waiting: ${words.join('; ')}${more > 0 ? `; and for ${many(more, 'more model')}` : ''}.`;
}

/** @param {Scene} scene @param {number} local the time here, Unix seconds @returns {Verdict | null} */
function unlinked(scene, local) {
  if (scene.link === 'token') {
    return { kind: 'token', parts: [['This balancer asks for its token', ''], ['.', '']], more: 'The one that agents and tools show: what `--management-token-file` names.' };
  }
  if (scene.link === 'connecting') return { kind: 'connecting', parts: [['Connecting', '']], more: '' };
  if (scene.link !== 'lost') return null;
  const again = `trying again in ${span(Math.max(1, Math.ceil(scene.retryAt - local)))}.`;
  const health = `\`curl ${new URL('health', document.baseURI)}\``;
  const why = scene.said ? `Its address answers with ${scene.said}; ${health} tells more.`
    : `Either the balancer is down or only this page is cut off; ${health} tells which.`;
  if (!scene.heard) return { kind: 'lost', parts: [['No connection', 'bad'], [`, ${again}`, '']], more: why };
  return {
    kind: 'lost',
    parts: [['Connection lost ', ''], [`${span(local - scene.lostAt)} ago`, 'bad'], [`, ${again}`, '']],
    more: `Below is how things stood at ${clock(scene.lastHeard)}. ${why}`,
  };
}

/** @param {Scene} scene @param {Facts} f @param {number} local @returns {Verdict} */
export function verdict(scene, f, local) {
  const broken = unlinked(scene, local);
  if (broken) return broken;
  const found = linked(scene, f);
  return { ...found, more: `${found.more.trimEnd()}${waitingFor(scene)}` };
}

/** @param {Scene} scene @param {Facts} f @returns {Verdict} */
function linked(scene, f) {
  const n = scene.queue.requests_waiting;
  const timeout = count(scene.timeout());
  const waiting = wait(scene);
  const end = /** @type {[string, string][]} */ ([['. ', ''], waiting, ['.', '']]);
  if (!scene.agents.size) {
    return {
      kind: n ? 'empty, waiting' : 'empty',
      parts: n ? [['No agents yet', ''], ...end] : [['No agents yet', ''], ['.', '']],
      more: n ? `They are answered as soon as an agent joins, within ${timeout} s of asking; after that they fail with 504.` : 'Requests wait for the first agent to join.',
    };
  }
  const left = f.u ? `${many(f.u, 'slot')} out of reach. ` : '';
  const slots = `${count(f.busy)} of ${count(f.usable)} slots busy`;
  const kind = n ? (waiting[1] === 'bad' ? ', waiting long' : ', waiting') : '';
  if (!f.i && !f.states.ready && !f.states.full && !f.states.sleeping) {
    return { kind: `none${kind}`, parts: [['No agent can take a request', 'bad'], ...end], more: none(scene, f) };
  }
  if (f.trouble) {
    return {
      kind: `${f.trouble} in trouble${kind}`,
      parts: [[`${many(f.trouble, 'agent')} ${f.trouble === 1 ? 'needs' : 'need'} attention`, ''], ...end],
      more: `${slots}. ${left}${n ? `A request may wait ${timeout} s before it fails.` : ''}`,
    };
  }
  if (!f.i) return { kind: `full${kind}`, parts: [['Full: ', ''], [slots, ''], ...end], more: `A request may wait ${timeout} s. ${left}` };
  return { kind: `fine${kind}`, parts: [[slots, ''], ...end], more: calm(scene, f) };
}

/** @param {Scene} scene @param {Facts} f */
function none(scene, f) {
  if (f.trouble) return `${f.trouble === 1 ? 'One agent is' : `${count(f.trouble)} agents are`} in trouble; what to do is below.`;
  return `${states(f)}. A request may wait ${count(scene.timeout())} s before it fails.`;
}

/** @param {Facts} f */
const states = f => Object.keys(STATES).filter(k => f.states[k]).map(k => `${count(f.states[k])} ${STATES[k].toLowerCase()}`).join(', ');

/** @param {Scene} scene @param {Facts} f */
function calm(scene, f) {
  const longest = scene.history.longestWait();
  const most = scene.history.mostWaiting();
  if (longest) return `${states(f)}. Longest wait in 15 minutes: ${secs(longest)}.`;
  return most ? `${states(f)}. Up to ${many(most, 'request')} waited in the last 15 minutes.` : `${states(f)}.`;
}

let spokenKind = '';
let spokenAt = -Infinity;

/** @param {Scene} scene @param {Facts} f */
export function drawVerdict(scene, f) {
  const local = Date.now() / 1000;
  const { kind, parts, more } = verdict(scene, f, local);
  const line = byId('say');
  const text = parts.map(part => part[0]).join('');
  const key = text + parts.map(part => part[1]).join(' ');
  if (line.dataset.key !== key) {
    line.dataset.key = key;
    line.replaceChildren(...parts.map(([words, mood]) => (mood ? el('em', mood, words) : words)));
  }
  setRich(byId('saymore'), more);
  if (kind !== spokenKind && kind !== 'connecting' && local - spokenAt >= QUIET) {
    spokenKind = kind;
    spokenAt = local;
    setText(byId('spoken'), text);
  }
  drawTitle(scene, f);
}

/** Says how things are where only the tab is seen. @param {Scene} scene @param {Facts} f */
export function drawTitle(scene, f) {
  const n = scene.queue.requests_waiting;
  const numbers = `${f.trouble ? `(!${f.trouble}) ` : ''}${f.busy}/${f.usable} busy${n ? `, ${n} waiting` : ''} – paddler`;
  const title = scene.link === 'live' ? (scene.agents.size ? numbers : 'No agents yet – paddler') : '(?) paddler';
  if (document.title !== title) document.title = title;
}

/** The words beside the page's name. @param {Scene} scene */
export function drawHeader(scene) {
  const words = { connecting: 'Connecting', live: 'Live', lost: 'Not connected', token: 'Not connected' };
  setText(byId('live'), words[scene.link]);
  setClass(byId('live'), scene.link === 'live' ? 'live' : 'live off');
  setClass(document.body, [scene.link === 'live' ? '' : scene.link, scene.agents.size <= 4 ? 'few' : ''].join(' ').trim());
  const port = scene.publicPort();
  setText(byId('where'), port && port !== '0' ? `${location.hostname}:${port}` : location.host);
  // A link shows no token.
  show(byId('links'), !hasToken());
  const b = scene.balancer;
  setText(byId('foot'), b ? `paddler ${b.version}, up ${span(scene.uptime())}` : '');
}
