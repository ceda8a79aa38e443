/* One small chart of the last 15 minutes, drawn by uPlot. */
import { el, setAttr, setText } from './dom.js';
import { clock } from './figures.js';
import { SPAN } from './history.js';

/** @type {any} */
const { uPlot } = /** @type {any} */ (globalThis);

/** @param {string} name */
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * @typedef {object} Line
 * @property {() => string} colour a custom property's name
 * @property {boolean} [fill]
 * @property {number[]} [dash]
 * @property {boolean} [bars]
 */

export class Chart {
  /** @param {string} name @param {Line[]} lines @param {(v: number) => string} say a value in words */
  constructor(name, lines, say) {
    this._say = say;
    this._max = 1;
    this._newest = 0;
    /** @type {any} */
    this._data = [[], ...lines.map(() => [])];
    this._top = el('span', 'top');
    this._from = el('span', '', '15 min ago');
    this._plot = el('div', 'plot');
    this.node = el('div', 'chart', this._top, this._plot, el('div', 'ends', this._from, el('span', '', 'now')));
    this.node.setAttribute('role', 'img');
    this._name = name;
    this._lines = lines;
    /** @type {any} */
    this._drawn = null;
    new ResizeObserver(() => this._resize()).observe(this._plot);
  }

  /**
   * Show these columns.
   * @param {import('./history.js').Column[]} columns times first
   * @param {number} max the top
   * @param {string} told the newest value in words
   */
  set(columns, max, told) {
    this._data = columns;
    this._max = max;
    this._newest = columns[0].at(-1) ?? 0;
    setText(this._top, this._say(max));
    setAttr(this.node, 'aria-label', `${this._name}, last 15 minutes, up to ${this._say(max)}; now ${told}`);
    this._drawn?.setData(columns);
  }

  /** Draw again, in other colours. */
  recolour() {
    this._drawn?.redraw(false);
  }

  _resize() {
    const width = this._plot.clientWidth;
    const height = this._plot.clientHeight;
    if (!width || !height) return;
    if (this._drawn) this._drawn.setSize({ width, height });
    else this._drawn = new uPlot(this._options(width, height), this._data, this._plot);
  }

  /** @param {number} width @param {number} height */
  _options(width, height) {
    return {
      width, height, padding: [1, 0, 0, 0],
      legend: { show: false },
      axes: [{ show: false }, { show: false }],
      scales: {
        x: { time: false, range: () => [this._newest - SPAN, this._newest || 1] },
        y: { range: () => [0, this._max] },
      },
      cursor: { sync: { key: 'paddler' }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
      hooks: { setCursor: [(/** @type {any} */ u) => this._point(u)] },
      series: [{}, ...this._lines.map(series)],
    };
  }

  /** Tell what the pointer is at, in this chart or in another. @param {any} u */
  _point(u) {
    const at = u.cursor.idx;
    /** @type {import('./history.js').Column} */
    const values = at === null || at === undefined ? [] : this._data.slice(1).map((/** @type {any} */ column) => column[at]);
    const known = values.filter(v => v !== null && v !== undefined);
    setText(this._from, known.length ? `${clock(this._data[0][at])}  ${known.map(v => this._say(v ?? 0)).join(', ')}` : '15 min ago');
  }
}

/** @param {Line} line */
function series({ colour, fill, dash, bars }) {
  const stroke = () => css(colour());
  if (bars) {
    return { stroke, fill: stroke, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 12, 2] }) };
  }
  return {
    stroke, dash, width: 1.6,
    fill: fill ? () => `color-mix(in srgb, ${css(colour())} 15%, transparent)` : undefined,
    // A value between two gaps would not be seen.
    points: { show: true, size: 3.5, width: 0, fill: stroke, filter: alone },
  };
}

/** The indices of values that have no neighbour. @param {any} u @param {number} n */
function alone(u, n) {
  /** @type {import('./history.js').Column} */
  const values = u.data[n];
  const nothing = (/** @type {number | null | undefined} */ v) => v === null || v === undefined;
  return values.flatMap((v, i) => (!nothing(v) && nothing(values[i - 1]) && nothing(values[i + 1]) ? [i] : []));
}
