/* One agent's slots as cells; many narrow ones above 16, a bar above 64. */
import { el, setAttr, setClass } from './dom.js';
import { count, many } from './figures.js';
import { busy, known, slots } from './fleet.js';
import { CELLS } from './words.js';

/** @typedef {import('./fleet.js').Agent} Agent */

/** The slots in words. @param {Agent} a */
export function inWords(a) {
  const found = /** @type {Record<string, number>} */ (slots(a));
  const say = CELLS.filter(([k]) => found[k] && k !== 'i' && k !== 'u').map(([k, name]) => `${count(found[k])} ${name}`);
  return a.slots_total ? `${many(a.slots_total, 'slot')}: ${say.join(', ') || (known(a) ? 'none busy' : 'unknown')}` : 'No slots known';
}

/** "3 / 8", or a dash where that is not known. @param {Agent} a */
export function ratio(a) {
  return `${known(a) || busy(a) ? count(busy(a)) : '–'} / ${a.slots_total ? count(a.slots_total) : '–'}`;
}

export class Cells {
  constructor() {
    this.node = el('span', 'cells');
    this.node.setAttribute('role', 'img');
    this._drawn = '';
  }

  /** Draw what changed. @param {Agent} a */
  patch(a) {
    const s = /** @type {Record<string, number>} */ (slots(a));
    const run = CELLS.map(([k]) => k.repeat(s[k])).join('');
    const words = inWords(a);
    setAttr(this.node, 'aria-label', words);
    setAttr(this.node, 'title', words);
    if (run === this._drawn) return;
    if (run.length > 64) this._bar(s);
    else this._cells(run);
    this._drawn = run;
  }

  /** @param {string} run */
  _cells(run) {
    if (this._drawn.length > 64) this.node.replaceChildren();
    setClass(this.node, run.length > 16 ? 'cells many' : 'cells');
    const kids = this.node.children;
    while (kids.length > run.length) kids[kids.length - 1].remove();
    for (let n = 0; n < run.length; n++) {
      if (n === kids.length) this.node.append(el('i', `c ${run[n]}`));
      else setClass(kids[n], `c ${run[n]}`);
    }
  }

  /** @param {Record<string, number>} s */
  _bar(s) {
    setClass(this.node, 'cells stack');
    fillBar(this.node, s);
  }
}

/** Fill a bar with a segment for each kind of slot there is. @param {HTMLElement} bar @param {Record<string, number>} s */
export function fillBar(bar, s) {
  const kids = /** @type {Map<string, HTMLElement>} */ (new Map());
  for (const kid of bar.children) kids.set(kid.className, /** @type {HTMLElement} */ (kid));
  if (kids.size !== CELLS.length) {
    kids.clear();
    for (const [k] of CELLS) kids.set(k, el('i', k));
    bar.replaceChildren(...kids.values());
  }
  for (const [k] of CELLS) {
    const kid = /** @type {HTMLElement} */ (kids.get(k));
    kid.hidden = !s[k];
    if (s[k]) kid.style.flexGrow = String(s[k]);
  }
}
