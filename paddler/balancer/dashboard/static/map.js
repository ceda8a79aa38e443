/* Agents as squares, filled as far as they are busy, grouped by model and ordered by name. */
import { Cells } from './cells.js';
import { button, el, icon, setAttr, setClass, setIcon, setKids, setText, show } from './dom.js';
import { count, many } from './figures.js';
import { busy, detail, facts, glyph, known, model, ofPrompts, report, resting, trouble, word } from './fleet.js';

/** @typedef {import('./fleet.js').Agent} Agent */

/** Squares that are patched in one frame at most. */
const SLICE = 60;
const HINT = 'One square is one agent, filled as far as it is busy. Point at one or use the arrow keys; Enter drains or resumes.';

class Square {
  /** @param {string} id @param {(id: string) => void} point @param {(id: string) => void} ask */
  constructor(id, point, ask) {
    this.node = button('t', '', () => {});
    // A finger can't point at it first.
    this.node.onclick = event => (/** @type {PointerEvent} */ (event).pointerType === 'touch' ? point : ask)(id);
    this.node.tabIndex = -1;
    this.node.onmouseenter = this.node.onfocus = () => point(id);
    /** @type {SVGElement | null} */
    this._icon = null;
    this._key = '';
    /** @type {Agent | null} what was drawn last */
    this.seen = null;
  }

  /** @param {Agent} a @param {number} now */
  patch(a, now) {
    this.seen = a;
    const wrong = trouble(a, now);
    const rest = resting(a) || a.draining;
    const key = `${a.agent_name} ${a.state} ${wrong} ${rest} ${word(a)} ${a.in_flight - a.promised + a.client_left} ${busy(a)} ${a.slots_total}`;
    if (key === this._key) return;
    this._key = key;
    setClass(this.node, wrong ? `t trouble ${wrong}` : rest ? 't rest' : 't');
    setAttr(this.node, 'aria-label', `${a.agent_name}, ${word(a)}, ${told(a)}`);
    const total = a.slots_total || 1;
    this.node.style.setProperty('--f', String((a.in_flight - a.promised + a.client_left) / total));
    this.node.style.setProperty('--g', String(busy(a) / total));
    if (wrong || rest) {
      const name = glyph(a) === 'ready' || glyph(a) === 'full' ? 'issue' : glyph(a);
      this._icon ??= icon(name, '');
      setIcon(this._icon, name, '');
      if (!this._icon.parentNode) this.node.append(this._icon);
    } else this._icon?.remove();
  }
}

class Group {
  constructor() {
    this._name = el('span', 'mono model');
    this._fill = el('i');
    this._told = el('small');
    this.grid = el('div', 'tilegrid');
    this.node = el('div', 'grp', el('h3', '', this._name, el('span', 'mini', this._fill), this._told), this.grid);
  }

  /** @param {string} name @param {Agent[]} members @param {number} now */
  patch(name, members, now) {
    const f = facts(members, now);
    setText(this._name, name || 'no model named');
    setAttr(this._name, 'title', name);
    const width = `${(100 * f.busy / (f.usable || 1)).toFixed(1)}%`;
    if (this._fill.style.width !== width) this._fill.style.width = width;
    const bad = f.trouble ? ` · ${count(f.trouble)} in trouble` : '';
    setText(this._told, `${count(f.busy)} of ${count(f.usable)} slots busy · ${many(members.length, 'agent')}${bad}`);
  }
}

/** How busy it is, in words. @param {Agent} a */
function told(a) {
  if (known(a) || busy(a)) return `${count(busy(a))} of ${count(a.slots_total)} busy`;
  return a.slots_total ? many(a.slots_total, 'slot') : 'no slots known';
}

/** The line that tells of the square one points at. */
class Inspector {
  /** @param {(id: string) => void} ask */
  constructor(ask) {
    this._icon = icon('ready');
    this._name = el('b');
    this._address = el('span', 'mono');
    this._state = el('span');
    this._cells = new Cells();
    this._busy = el('span');
    this._prompts = el('span');
    this._report = el('span');
    this._act = button('ghost act', '', () => ask(this._id));
    this._parts = [this._icon, this._name, this._address, this._state, this._cells.node, this._busy, this._prompts, this._report, this._act];
    this.node = el('div', 'inspect', HINT);
    this._id = '';
  }

  /** @param {Agent | undefined} a @param {number} now */
  patch(a, now) {
    if (!a) {
      if (this._id) this.node.replaceChildren(HINT);
      this._id = '';
      return;
    }
    if (!this._id) this.node.replaceChildren(...this._parts);
    this._id = a.agent_id;
    setIcon(this._icon, glyph(a));
    setText(this._name, a.agent_name);
    setText(this._address, a.external_llamacpp_addr);
    setText(this._state, [word(a), detail(a, now)].filter(Boolean).join(', '));
    this._cells.patch(a);
    setText(this._busy, told(a));
    show(this._prompts, Boolean(a.prompts));
    setText(this._prompts, ofPrompts(a));
    setText(this._report, a.state === 'stale' ? `last report ${report(a, now)}` : 'reports on time');
    setText(this._act, a.draining ? 'Resume' : 'Drain');
    setAttr(this._act, 'aria-label', `${a.draining ? 'Resume' : 'Drain'} ${a.agent_name}`);
  }
}

export class AgentMap {
  /** @param {(id: string) => void} ask */
  constructor(ask) {
    this._ask = ask;
    /** @type {Map<string, Square>} */
    this._squares = new Map();
    /** @type {Map<string, Group>} */
    this._groups = new Map();
    /** @type {Map<string, string[]>} ids by model, in order */
    this._layout = new Map();
    this._key = '';
    this._pointed = '';
    /** @type {Agent[]} */
    this._list = [];
    this._next = 0;
    // What time alone changes is looked at every ten seconds.
    this._allAt = 0;
    this._calm = false;
    /** @type {HTMLElement | null} */
    this._stop = null;
    this._inspector = new Inspector(ask);
    this._box = el('div', 'groups');
    this.node = el('div', 'map', this._inspector.node, this._box);
    this._box.onkeydown = event => this._move(event);
  }

  /**
   * @param {Agent[]} list those to show, by name
   * @param {string} key changes when other agents are shown, or their names or models change
   * @param {number} now
   */
  draw(list, key, now) {
    const byId = new Map(list.map(a => [a.agent_id, a]));
    if (key !== this._key) this._arrange(list);
    this._key = key;
    this._list = list;
    this._calm = now >= this._allAt && now - this._allAt < 10;
    if (!this._calm) this._allAt = now;
    this._next = 0;
    for (const [name, ids] of this._layout) {
      const members = ids.map(id => /** @type {Agent} */ (byId.get(id)));
      this._groups.get(name)?.patch(name, members, now);
    }
    this._inspector.patch(byId.get(this._pointed), now);
  }

  /**
   * Patch some squares of what is to be drawn; a thousand at once would hold up a frame.
   * @param {number} now
   * @returns {boolean} there are more
   */
  slice(now) {
    for (let left = SLICE; left && this._next < this._list.length; this._next++) {
      const a = this._list[this._next];
      const square = this._squares.get(a.agent_id);
      if (!square || (this._calm && square.seen === a)) continue;
      square.patch(a, now);
      left--;
    }
    return this._next < this._list.length;
  }

  /** By name and never by load, so that a square stays where the eye left it. @param {Agent[]} list */
  _arrange(list) {
    this._layout = new Map();
    for (const a of list) {
      const ids = this._layout.get(model(a)) ?? [];
      ids.push(a.agent_id);
      this._layout.set(model(a), ids);
    }
    const shown = new Set(list.map(a => a.agent_id));
    for (const id of this._squares.keys()) if (!shown.has(id)) this._squares.delete(id);
    this._layout = new Map([...this._layout].sort(([a], [b]) => (a < b ? -1 : 1)));
    const nodes = [...this._layout].map(([name, ids]) => {
      const group = this._groups.get(name) ?? new Group();
      this._groups.set(name, group);
      setKids(group.grid, ids.map(id => this._square(id).node));
      return group.node;
    });
    for (const name of this._groups.keys()) if (!this._layout.has(name)) this._groups.delete(name);
    setKids(this._box, nodes);
    const first = this._all()[0];
    if (first && !this._stop?.isConnected) this._tabStop(first);
  }

  /** Only one square is on the way of the Tab key. @param {HTMLElement} node */
  _tabStop(node) {
    if (this._stop) this._stop.tabIndex = -1;
    this._stop = node;
    node.tabIndex = 0;
  }

  /** @param {string} id */
  _square(id) {
    const square = this._squares.get(id) ?? new Square(id, at => this._point(at), this._ask);
    this._squares.set(id, square);
    return square;
  }

  /** @param {string} id */
  _point(id) {
    const [from, to] = [this._pointed, id].map(at => this._squares.get(at)?.node);
    from?.removeAttribute('aria-current');
    to?.setAttribute('aria-current', 'true');
    this._pointed = id;
    if (to) this._tabStop(to);
    this.node.dispatchEvent(new CustomEvent('pointed', { bubbles: true }));
  }

  /** @returns {HTMLElement[]} the squares in the order of the page */
  _all() {
    return [.../** @type {NodeListOf<HTMLElement>} */ (this._box.querySelectorAll('.t'))];
  }

  /** Arrow keys go from square to square, over the groups' borders. @param {KeyboardEvent} event */
  _move(event) {
    const from = /** @type {HTMLElement} */ (document.activeElement);
    const all = this._all();
    const at = all.indexOf(from);
    const sideways = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const updown = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (at < 0 || !(sideways || updown)) return;
    event.preventDefault();
    const next = sideways ? all[at + sideways] : nearest(from, all, updown ?? 0);
    if (!next || next === from) return;
    next.focus();
  }
}

/** The nearest square above or below. @param {HTMLElement} from @param {HTMLElement[]} all @param {number} way */
function nearest(from, all, way) {
  const far = (/** @type {HTMLElement} */ node) => {
    const dy = (node.offsetTop - from.offsetTop) * way;
    return dy <= 0 ? Infinity : dy * 100 + Math.abs(node.offsetLeft - from.offsetLeft);
  };
  return all.reduce((best, node) => (far(node) < far(best) ? node : best), from);
}
