/* Why the last requests went where they went, the newest first. */
import { el, part, setKids, setText, show } from './dom.js';
import { clock, percent } from './figures.js';
import { cached } from './fleet.js';
import { PROMPTS } from './words.js';

/**
 * @typedef {object} Decision
 * @property {number} at Unix seconds
 * @property {string} request_id
 * @property {string | null} model
 * @property {string} agent
 * @property {string} reason a sentence or two
 * @property {number} prompt_tokens 0: it had no prompt to go by
 * @property {number} cached_tokens
 * @property {string | null} next_agent where it would have cost least but there
 */

const HEADS = [['', 'When'], ['', 'Agent'], ['hm', 'Model'], ['num', PROMPTS.cached], ['', 'Why'], ['', 'Next best']];
const MEANING = 'The last 100 requests. What one costs is for how long it keeps everybody waiting, as estimated.';

/** The pointer, if there is one, rests on things without a click. */
const pointed = matchMedia('(hover: hover)');

/** A name, which cannot turn round what stands beside it. @param {string} cls @param {string} name */
function named(cls, name) {
  const node = el('span', cls, name);
  node.title = name;
  return node;
}

/** @param {Decision} d */
function row(d) {
  const share = cached({ tokens: d.prompt_tokens, cached: d.cached_tokens });
  const when = part('td', 'when', 'cell', clock(d.at));
  when.title = `request ${d.request_id}`;
  return part('tr', '', 'row', when, part('td', 'who', 'cell', named('name', d.agent)),
    part('td', 'model mono hm', 'cell', named('', d.model ?? '')), part('td', 'num', 'cell', percent(share)),
    part('td', 'reason', 'cell', d.reason), part('td', 'next', 'cell', d.next_agent ? named('name', d.next_agent) : null));
}

/** @param {Decision} d */
const keyOf = d => `${d.at} ${d.request_id} ${d.agent}`;
/** What the filter looks through. @param {Decision} d */
const inText = d => `${d.agent} ${d.model ?? ''} ${d.request_id}`.toLowerCase();

export class Why {
  constructor() {
    /** They never change, so they are made once. @type {Map<string, HTMLElement>} */
    this._rows = new Map();
    this._body = part('tbody', '', 'rowgroup');
    const heads = HEADS.map(([cls, text]) => part('th', cls, 'columnheader', text));
    this._table = part('table', 'why', 'table', part('thead', '', 'rowgroup', part('tr', '', 'row', ...heads)), this._body);
    this._said = el('p', 'more');
    this.node = el('div', 'rows', this._table, this._said);
    /** @type {Decision[] | null} what is shown, before the filter */
    this._shown = null;
    this._text = '';
  }

  /** @param {Decision[] | null} decisions the newest first; null: not known yet @param {string} text what the filter has */
  draw(decisions, text) {
    // What one reads does not move away under the pointer.
    const held = pointed.matches && this._body.matches(':hover');
    if (text === this._text && (decisions === this._shown || held) && this._said.textContent) return;
    this._shown = decisions;
    this._text = text;
    const chosen = (decisions ?? []).filter(d => !text || inText(d).includes(text));
    const rows = new Map(chosen.map(d => [keyOf(d), d]));
    for (const key of this._rows.keys()) if (!rows.has(key)) this._rows.delete(key);
    setKids(this._body, [...rows].map(([key, d]) => {
      const node = this._rows.get(key) ?? row(d);
      this._rows.set(key, node);
      return node;
    }));
    show(this._table, chosen.length > 0);
    const none = decisions?.length ? 'No request matches. Clear the filter to see all.' : 'No request has come yet.';
    setText(this._said, decisions === null ? 'Asking the balancer.' : chosen.length ? MEANING : none);
  }
}
