/* Agents as rows of a table, trouble first. Rows are kept by agent and patched. */
import { Cells, ratio } from './cells.js';
import { button, el, icon, part, setAttr, setClass, setIcon, setKids, setText, show } from './dom.js';
import { count, percent } from './figures.js';
import { cached, detail, glyph, model, ofPrompts, report, resting, serving, speeds, trouble, word } from './fleet.js';
import { PROMPTS } from './words.js';

/** @typedef {import('./fleet.js').Agent} Agent */

const MOST = 200;
/** Rows that are patched in one frame at most. */
const SLICE = 20;
/** Milliseconds that an order lasts at least. */
const SETTLED = 5000;
const HEADS = [['', 'Agent'], ['', 'State'], ['num', 'Busy'], ['', 'Slots'], ['num pr', PROMPTS.cached], ['num pr sp', PROMPTS.speeds], ['hm', 'Model'], ['hm late', 'Report'], ['num', '']];

/** The pointer, if there is one, rests on things without a click. */
const pointed = matchMedia('(hover: hover)');

/** @param {Agent} a @param {number} now */
function rank(a, now) {
  const wrong = trouble(a, now);
  if (wrong) return wrong === 'bad' ? 0 : 1;
  return a.draining ? 2 : resting(a) ? 4 : 3;
}

class Row {
  /** @param {(id: string) => void} ask @param {string} id */
  constructor(ask, id) {
    /** @type {Agent | null} what was drawn last */
    this.seen = null;
    /** Nothing in it changes with time alone. */
    this.calm = false;
    this._name = el('span', 'name');
    this._address = el('span', 'addr mono');
    this._icon = icon('ready');
    this._word = el('span');
    this._detail = el('small');
    this._state = el('span', 'st', this._icon, this._word, this._detail);
    this._ratio = part('td', 'num', 'cell');
    this._cells = new Cells();
    this._cached = part('td', 'num pr', 'cell');
    this._speeds = part('td', 'num pr sp', 'cell');
    this._prompts = '';
    this._model = part('td', 'model mono hm', 'cell');
    this._report = el('span', 'late');
    this._act = button('act', '', () => ask(id));
    this.node = part('tr', '', 'row', part('td', 'who', 'cell', this._name, this._address), part('td', 'stc', 'cell', this._state), this._ratio,
      part('td', 'sl', 'cell', this._cells.node), this._cached, this._speeds, this._model, part('td', 'hm lateb', 'cell', this._report), part('td', 'num ac', 'cell', this._act));
  }

  /** @param {Agent} a @param {number} now */
  patch(a, now) {
    const wrong = trouble(a, now);
    this.seen = a;
    this.calm = !a.issues.length && serving(a);
    setClass(this.node, wrong ? `trouble ${wrong}` : '');
    setText(this._name, a.agent_name);
    setAttr(this._name, 'title', a.agent_name);
    setText(this._address, a.external_llamacpp_addr);
    setAttr(this._address, 'title', a.external_llamacpp_addr);
    setIcon(this._icon, glyph(a));
    setText(this._word, word(a));
    setText(this._detail, detail(a, now));
    setClass(this._state, `st ${wrong}`);
    setText(this._ratio, ratio(a));
    this._cells.patch(a);
    this._patchPrompts(a);
    setText(this._model, model(a));
    setAttr(this._model, 'title', a.models.join(', '));
    setText(this._report, report(a, now));
    setClass(this._report, a.state === 'stale' ? 'late warn' : 'late');
    setText(this._act, a.draining ? 'Resume' : 'Drain');
    setClass(this._act, a.draining ? 'act on' : 'act');
    setAttr(this._act, 'aria-label', `${a.draining ? 'Resume' : 'Drain'} ${a.agent_name}`);
  }

  /** They change seldom, and take longest to say. @param {Agent} a */
  _patchPrompts(a) {
    const key = Object.values(a.prompts ?? {}).join();
    if (key === this._prompts) return;
    this._prompts = key;
    setText(this._cached, a.prompts ? percent(cached(a.prompts)) : '');
    setText(this._speeds, a.prompts ? speeds(a.prompts) : '');
    for (const node of [this._cached, this._speeds]) setAttr(node, 'title', ofPrompts(a));
  }
}

export class Rows {
  /** @param {(id: string) => void} ask what a row's button does */
  constructor(ask) {
    this._ask = ask;
    /** @type {Map<string, Row>} */
    this._rows = new Map();
    this._body = part('tbody', '', 'rowgroup');
    const heads = HEADS.map(([cls, text]) => part('th', cls, 'columnheader', text));
    heads[HEADS.length - 1].append(el('span', 'vh', 'Drain or resume'));
    this._table = part('table', '', 'table', part('thead', '', 'rowgroup', part('tr', '', 'row', ...heads)), this._body);
    this._more = el('p', 'more');
    this.node = el('div', 'rows', this._table, this._more);
    /** @type {string[]} */
    this._order = [];
    /** @type {Agent[]} */
    this._list = [];
    this._next = 0;
    this._sortedAt = -Infinity;
    this._key = '';
  }

  /**
   * @param {Agent[]} list those to show, by name
   * @param {string} key changes when other agents are chosen
   * @param {number} now
   */
  draw(list, key, now) {
    const byId = new Map(list.map(a => [a.agent_id, a]));
    setClass(this._table, list.some(a => a.prompts) ? 'prompts' : '');
    this._sort(list, byId, key, now);
    this._list = this._order.slice(0, MOST).map(id => /** @type {Agent} */ (byId.get(id)));
    this._next = 0;
    const nodes = this._list.map(a => {
      const row = this._rows.get(a.agent_id) ?? new Row(this._ask, a.agent_id);
      this._rows.set(a.agent_id, row);
      return row.node;
    });
    for (const id of this._rows.keys()) if (!byId.has(id)) this._rows.delete(id);
    setKids(this._body, nodes);
    show(this._more, list.length > MOST);
    setText(this._more, list.length > MOST ? `${count(list.length - MOST)} more; filter to see them, or use the map.` : '');
  }

  /**
   * Patch some rows of what is to be drawn.
   * @param {number} now
   * @returns {boolean} there are more
   */
  slice(now) {
    for (let left = SLICE; left && this._next < this._list.length; this._next++) {
      const a = this._list[this._next];
      const row = this._rows.get(a.agent_id);
      if (!row || (row.seen === a && row.calm)) continue;
      row.patch(a, now);
      left--;
    }
    return this._next < this._list.length;
  }

  /** A row does not move under somebody's hand. @param {Agent[]} list @param {Map<string, Agent>} byId @param {string} key @param {number} now */
  _sort(list, byId, key, now) {
    const asked = key !== this._key;
    // What was touched or clicked at stays hovered or focused, though nobody is there any more.
    const held = (pointed.matches && this._table.matches(':hover')) || this._table.querySelector(':focus-visible') !== null;
    const due = performance.now() - this._sortedAt > SETTLED;
    if (!asked && (held || !due)) {
      const kept = new Set(this._order);
      this._order = this._order.filter(id => byId.has(id));
      this._order.push(...list.filter(a => !kept.has(a.agent_id)).map(a => a.agent_id));
      return;
    }
    const ranks = new Map(list.map(a => [a, rank(a, now)]));
    const rankOf = (/** @type {Agent} */ a) => /** @type {number} */ (ranks.get(a));
    this._order = [...list].sort((a, b) => rankOf(a) - rankOf(b)).map(a => a.agent_id);
    this._sortedAt = performance.now();
    this._key = key;
  }
}
