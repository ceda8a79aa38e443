/* Five numbers, each with its last 15 minutes. */
import { Chart } from './charts.js';
import { byId, el, setClass, setText, show } from './dom.js';
import { brief, count, percent, rate, roundUp, secs, waited } from './figures.js';
import { cached } from './fleet.js';
import { PROMPTS } from './words.js';

/** @typedef {import('./scene.js').Scene} Scene @typedef {import('./fleet.js').Facts} Facts */

class Tile {
  /** @param {string} name @param {import('./charts.js').Line[]} lines @param {(v: number) => string} say */
  constructor(name, lines, say, mark = '', noteMark = '') {
    this._value = el('span');
    this._small = el('small');
    this._note = el('div', 'd');
    this._strong = noteMark ? el('b') : this._note;
    this._chart = new Chart(name, lines, say);
    if (noteMark) this._note.append(this._strong, ' ', el('i', noteMark), 'p95');
    this.node = el('div', 'tile', el('h2', '', name),
      el('div', 'v', this._value, ' ', mark ? el('i', mark) : null, this._small), this._note, this._chart.node);
    this._version = -1;
  }

  /** @param {string} value @param {string} small @param {string} note @param {string} [mood] */
  say(value, small, note, mood = '') {
    setText(this._value, value);
    setText(this._small, small);
    setText(this._strong, note);
    setClass(this._note, `d ${mood}`);
  }

  /** @param {number} version of the history; nothing is drawn twice @param {() => import('./history.js').Column[]} columns @param {(most: number) => number} top */
  draw(version, columns, top) {
    if (version === this._version) return;
    this._version = version;
    const found = columns();
    let most = 0;
    for (const column of found.slice(1)) for (const v of column) if (v !== null && v > most) most = v;
    this._chart.set(found, top(most), `${this._value.textContent} ${this._small.textContent}`);
  }

  recolour() {
    this._chart.recolour();
  }
}

let waiting = false;
const busy = () => '--busy';
const tiles = {
  slots: new Tile('Slots in use', [{ colour: busy, fill: true }], count),
  waiting: new Tile('Waiting', [{ colour: () => (waiting ? '--warn' : '--busy'), fill: true }], count),
  requests: new Tile('Requests', [{ colour: busy, fill: true }], rate),
  first: new Tile('Time to first byte', [{ colour: busy }, { colour: () => '--ink2', dash: [4, 3] }], secs, 'ln', 'ln dash'),
  errors: new Tile('Errors', [{ colour: () => '--bad', bars: true }], count),
  cached: new Tile(PROMPTS.cached, [{ colour: busy, fill: true }], percent),
};
byId('tiles').append(...Object.values(tiles).map(tile => tile.node));

/** @param {Scene} scene @param {Facts} f */
export function drawTiles(scene, f) {
  show(byId('tiles'), scene.agents.size > 0);
  if (!scene.agents.size) return;
  const h = scene.history;
  setClass(byId('tiles'), f.prompts ? 'tiles six' : 'tiles');
  show(tiles.cached.node, f.prompts);
  if (f.prompts) drawCached(h);
  drawSlots(h, f);
  drawWaiting(scene, h);
  tiles.requests.say(rate(h.rate()), 'a second', `${count(h.requests())} in 15 min`);
  tiles.requests.draw(h.version, () => h.columns(p => p.requests / 5), most => roundUp(Math.max(1, most)));
  const [p50, p95] = h.firstByte();
  tiles.first.say(secs(p50), 'p50', secs(p95));
  tiles.first.draw(h.version, () => h.columns(p => p.ttfb_p50, p => p.ttfb_p95), most => roundUp(Math.max(0.1, most)));
  const errors = [...h.errors()];
  const all = errors.reduce((n, [, k]) => n + k, 0);
  tiles.errors.say(count(all), 'in 15 min', errors.map(([code, n]) => `${code === 'cut' ? 'cut short' : code} × ${count(n)}`).join(', ') || 'none', all ? 'bad' : '');
  tiles.errors.draw(h.version, () => h.columns(p => Object.values(p.errors).reduce((a, b) => a + b, 0) || null), most => roundUp(Math.max(2, most)));
}

/** @param {Scene['history']} h @param {Facts} f */
function drawSlots(h, f) {
  const why = f.trouble ? 'out of reach' : f.states.loading ? 'loading' : 'draining';
  const share = `${Math.round(100 * f.busy / (f.usable || 1))} % busy`;
  tiles.slots.say(count(f.busy), `of ${count(f.usable)}`, f.u ? `${count(f.u)} more ${why}` : share);
  tiles.slots.draw(h.version, () => h.columns(p => p.slots_processing), most => Math.max(1, f.total, most));
}

/** @param {Scene} scene @param {Scene['history']} h */
function drawWaiting(scene, h) {
  const { requests_waiting: n, limit } = scene.queue;
  const oldest = scene.oldest();
  waiting = n > 0;
  const longest = h.longestWait();
  const most = h.mostWaiting();
  const quiet = longest ? `longest in 15 min: ${secs(longest)}` : most ? `most in 15 min: ${count(most)}` : 'none in 15 min';
  const note = n ? `oldest ${waited(oldest)} of ${count(scene.timeout())} s` : quiet;
  tiles.waiting.say(count(n), `of ${count(limit)} at most`, note, n ? (oldest > scene.timeout() / 2 ? 'bad' : 'warn') : '');
  tiles.waiting.draw(h.version, () => h.columns(p => p.requests_waiting), top => roundUp(Math.max(5, top)));
}

/** @param {Scene['history']} h */
function drawCached(h) {
  const { tokens } = h.prompts();
  const share = cached(h.prompts());
  tiles.cached.say(percent(share), share === null ? '' : PROMPTS.of, tokens ? `${brief(tokens)} tokens in 15 min` : PROMPTS.none);
  tiles.cached.draw(h.version, () => h.columns(p => cached({ tokens: p.prompt_tokens ?? 0, cached: p.cached_tokens ?? 0 })), () => 1);
}

/** The colours are others. */
export function recolourTiles() {
  for (const tile of Object.values(tiles)) tile.recolour();
}
