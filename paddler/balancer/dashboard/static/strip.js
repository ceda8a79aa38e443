/* The bar of all slots, with its legend. */
import { fillBar } from './cells.js';
import { byId, el, setAttr, setClass, setText, show } from './dom.js';
import { count } from './figures.js';
import { CELLS } from './words.js';

/** @type {Map<string, {item: HTMLElement, number: HTMLElement}>} */
const legend = new Map();

function make() {
  for (const [k, name, tip] of CELLS) {
    const number = el('b');
    const item = el('li', '', el('i', `c ${k}`), number, name);
    item.title = tip;
    legend.set(k, { item, number });
    byId('legend').append(item);
  }
}

/** @param {import('./fleet.js').Facts} f */
export function drawStrip(f) {
  if (!legend.size) make();
  show(byId('strip'), f.total > 0);
  const s = /** @type {Record<string, number>} */ (/** @type {unknown} */ (f));
  fillBar(byId('stack'), s);
  setAttr(byId('stack'), 'aria-label', CELLS.map(([k, name]) => `${s[k]} ${name}`).join(', '));
  for (const [k, { item, number }] of legend) {
    setClass(item, s[k] ? '' : 'zero');
    setText(number, count(s[k]));
  }
}
