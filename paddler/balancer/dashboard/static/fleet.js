/* Facts about agents and the whole fleet: values in, values out. No page, no network. */
import { many, percent, rate, secs, span } from './figures.js';
import { ISSUES, LOADING_LONG, SHARPER, STATES } from './words.js';

/**
 * @typedef {{issue: string, since: number, seen_by: string}} Issue
 * @typedef {{tokens: number, cached: number, tokens_per_second: number | null, answer_tokens_per_second: number | null}} Prompts
 *
 * An agent as the API shows it.
 * @typedef {object} Agent
 * @property {string} agent_id
 * @property {string} agent_name
 * @property {string} external_llamacpp_addr
 * @property {string} state
 * @property {Issue[]} issues
 * @property {number} slots_total
 * @property {number} in_flight
 * @property {number} promised
 * @property {number} foreign_busy
 * @property {number} client_left
 * @property {string[]} models
 * @property {number | null} quarantined_until
 * @property {boolean} draining
 * @property {number} last_update
 * @property {Prompts | null} [prompts] what its answers have said of theirs; null: nobody looks at prompts
 *
 * Slots by what they do: letters as in `CELLS`.
 * @typedef {{o: number, p: number, f: number, l: number, i: number, u: number}} Slots
 *
 * @typedef {Slots & {total: number, usable: number, busy: number, trouble: number, prompts: boolean, states: Record<string, number>}} Facts
 */

const SERVING = new Set(['ready', 'full', 'sleeping', 'draining']);
const RESTING = new Set(['loading', 'sleeping']);
const FREE = new Set(['ready', 'full', 'sleeping']);
const REMARK = new Set(['unreachable', 'quarantined', 'stale']);
/** What is no reason why its llama-server can't be reached. */
const FROM_HERE = new Set(['quarantined', 'stale']);

/** Whether it answers requests, or ends those it has. @param {Agent} a */
export const serving = a => SERVING.has(a.state);
/** Whether new requests go there, at once or when a slot is free. @param {Agent} a */
export const taking = a => FREE.has(a.state) && !a.draining;
/** @param {Agent} a */
export const resting = a => RESTING.has(a.state);
/** Slots in use, by whomever. @param {Agent} a */
export const busy = a => a.in_flight + a.foreign_busy + a.client_left;
/** @param {Agent} a */
export const drained = a => a.draining && !busy(a);
/** Whether it is known what all its slots do. @param {Agent} a */
export const known = a => serving(a) && a.slots_total > 0;
/** The model it serves. @param {Agent} a */
export const model = a => a.models[0] ?? '';
/** Its llama-server's port. @param {Agent} a */
export const port = a => /:(\d+)$/.exec(a.external_llamacpp_addr)?.[1] ?? '8088';

/** What its slots do. Those in use are known even in trouble; the rest is out then. @param {Agent} a @returns {Slots} */
export function slots(a) {
  const rest = Math.max(0, a.slots_total - busy(a));
  const free = taking(a);
  return {
    o: a.in_flight - a.promised, p: a.promised, f: a.foreign_busy, l: a.client_left,
    i: free ? rest : 0, u: free ? 0 : rest,
  };
}

/**
 * The issue that a person should look at first: the one behind its state. An agent that was drained may be
 * stopped, and a model may load.
 * @param {Agent} a @param {number} now Unix seconds
 * @returns {Issue | null}
 */
export function issueOf(a, now) {
  if ((!a.issues.length && serving(a)) || drained(a)) return null;
  const wanted = a.issues.filter(i => ISSUES[i.issue] && (i.issue !== 'loading' || now - i.since > LOADING_LONG));
  const behind = wanted.filter(i => (a.state === 'unreachable' ? !FROM_HERE.has(i.issue) : i.issue === a.state));
  if (a.state === 'loading') return behind[0] ?? null;
  const first = behind[0] ?? wanted[0];
  // Who is beside llama-server and gets no answer either knows more.
  const nearer = first?.issue === 'unreachable' && behind.find(i => i.issue === 'unreachable' && i.seen_by === 'agent');
  return nearer || first || (REMARK.has(a.state) ? { issue: a.state, since: now, seen_by: 'balancer' } : null);
}

/** Whether it needs somebody: '' no, 'warn' soon, 'bad' now. @param {Agent} a @param {number} now @returns {'' | 'warn' | 'bad'} */
export function trouble(a, now) {
  const found = issueOf(a, now);
  if (!found) return '';
  return !serving(a) && ISSUES[found.issue].bad ? 'bad' : 'warn';
}

/** The key of `ISSUES` for an issue. @param {Issue} i */
export const adviceFor = i => (i.issue === 'unreachable' && i.seen_by === 'agent' ? 'unreachable for its agent' : i.issue);

/** Its state, in a word or two. @param {Agent} a */
export function word(a) {
  if (drained(a)) return 'Drained';
  if (a.state === 'unreachable') return SHARPER[issueOf(a, 0)?.issue ?? ''] ?? STATES.unreachable;
  return STATES[a.state] ?? a.state;
}

/** The state's small print. @param {Agent} a @param {number} now */
export function detail(a, now) {
  if (drained(a)) return a.state === 'draining' ? 'safe to stop' : 'stopped';
  if (a.draining) return `${many(busy(a), 'answer')} left`;
  if (a.state === 'quarantined') return back(a, now);
  if (a.state === 'unreachable') {
    const since = issueOf(a, now)?.since ?? now;
    return now - since >= 1 ? `for ${span(now - since)}` : '';
  }
  if (a.state === 'sleeping') return 'wakes on demand';
  const wrong = serving(a) && issueOf(a, now);
  return wrong ? ISSUES[wrong.issue].short : '';
}

/** @param {Agent} a @param {number} now */
function back(a, now) {
  const left = Math.ceil((a.quarantined_until ?? now) - now);
  return left > 0 ? `back in ${span(left)}` : 'one request tries it next';
}

/** The glyph for its state. @param {Agent} a */
export function glyph(a) {
  if (drained(a)) return 'draining';
  return a.state === 'unreachable' && issueOf(a, 0)?.issue === 'timeout' ? 'stale' : a.state;
}

/** How its reports come; digits only when they stopped. @param {Agent} a @param {number} now */
export const report = (a, now) => (a.state === 'stale' ? `${secs(Math.max(1, now - a.last_update))} ago` : 'on time');

/** The share of prompts' tokens that was cached; null: not known. @param {{tokens: number, cached: number} | null | undefined} p */
export const cached = p => (p?.tokens ? p.cached / p.tokens : null);

/** Tokens a second, of prompts and of an answer. @param {Prompts | null | undefined} p */
export function speeds(p) {
  const both = [p?.tokens_per_second ?? null, p?.answer_tokens_per_second ?? null];
  return both.every(each => each === null) ? 'unknown' : both.map(each => (each === null ? 'unknown' : rate(each))).join(' / ');
}

/** Both in words; nothing where nobody looks at prompts. @param {Agent} a */
export function ofPrompts(a) {
  const p = a.prompts;
  if (!p) return '';
  const say = (/** @type {number | null} */ each) => (each === null ? 'unknown' : `${rate(each)} tokens/s`);
  return `Cached: ${percent(cached(p))} of prompt tokens. Prompts: ${say(p.tokens_per_second)}. Answers: ${say(p.answer_tokens_per_second)}.`;
}

/** All agents together. @param {Iterable<Agent>} agents @param {number} now @returns {Facts} */
export function facts(agents, now) {
  const f = { o: 0, p: 0, f: 0, l: 0, i: 0, u: 0, total: 0, usable: 0, busy: 0, trouble: 0, prompts: false, states: /** @type {Record<string, number>} */ ({}) };
  for (const a of agents) {
    const s = slots(a);
    f.o += s.o; f.p += s.p; f.f += s.f; f.l += s.l; f.i += s.i; f.u += s.u;
    f.states[a.state] = (f.states[a.state] ?? 0) + 1;
    if (trouble(a, now)) f.trouble++;
    if (a.prompts) f.prompts = true;
  }
  f.busy = f.o + f.p + f.f + f.l;
  f.usable = f.busy + f.i;
  f.total = f.usable + f.u;
  return f;
}
