/* Making and patching nodes. Text from the network only ever becomes text. */

/**
 * Make an element.
 * @param {string} tag
 * @param {string} cls its classes
 * @param {(string | Node | null)[]} kids what is in it; text stays text
 * @returns {HTMLElement}
 */
export function el(tag, cls = '', ...kids) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  for (const kid of kids) if (kid) node.append(kid);
  return node;
}

/**
 * A part of a table. Its role is said, for on a phone it looks like no table, and some browsers
 * then take it for none.
 * @param {string} tag @param {string} cls @param {string} role @param {(string | Node | null)[]} kids
 */
export function part(tag, cls, role, ...kids) {
  const node = el(tag, cls, ...kids);
  node.setAttribute('role', role);
  return node;
}

/** The element with this id. @param {string} id @returns {any} */
export const byId = id => document.getElementById(id);

/** A button that does no more than call. @param {string} cls @param {string} text @param {() => void} act */
export function button(cls, text, act) {
  const node = /** @type {HTMLButtonElement} */ (el('button', cls, text));
  node.type = 'button';
  node.onclick = act;
  return node;
}

/** Set a leaf's text if it is another one. @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set its classes if they are others. @param {Element} node @param {string} cls */
export function setClass(node, cls) {
  if (node.getAttribute('class') !== cls) node.setAttribute('class', cls);
}

/** Set an attribute if it is another. @param {Element} node @param {string} name @param {string} value */
export function setAttr(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Show or hide. @param {HTMLElement} node @param {boolean} shown */
export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/**
 * Put text into a node, in which `words between backticks` become code.
 * @param {Element} node @param {string} text
 */
export function setRich(node, text) {
  if (node.getAttribute('data-text') === text) return;
  node.setAttribute('data-text', text);
  node.replaceChildren(...text.split('`').map((part, n) => (n % 2 ? el('code', '', part) : part)));
}

/**
 * Have exactly these children, in this order. Those that stay are not touched where others go,
 * and one that has to move keeps the focus; where that is lost, it goes to what is around.
 * @param {Element} parent @param {Element[]} kids
 */
export function setKids(parent, kids) {
  const focus = /** @type {HTMLElement | null} */ (document.activeElement);
  const held = parent.contains(focus);
  const kept = new Set(kids);
  for (const kid of [...parent.children]) if (!kept.has(kid)) kid.remove();
  let at = parent.firstElementChild;
  for (const kid of kids) {
    if (kid === at) at = at.nextElementSibling;
    else parent.insertBefore(kid, at);
  }
  if (!held || document.activeElement === focus) return;
  const next = parent.contains(focus) ? focus : /** @type {HTMLElement | null} */ (parent.closest('[tabindex="-1"]'));
  next?.focus({ preventScroll: true });
}

const SVG = 'http://www.w3.org/2000/svg';

/** One of the page's glyphs. @param {string} name @returns {SVGElement} */
export function icon(name, cls = name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS(SVG, 'use'));
  setIcon(svg, name, cls);
  return svg;
}

/** Make a glyph another one. @param {Element} svg @param {string} name */
export function setIcon(svg, name, cls = name) {
  setClass(svg, `ic ${cls}`);
  setAttr(/** @type {Element} */ (svg.firstChild), 'href', `#i-${name}`);
}

/**
 * A command with a button to copy it.
 * @returns {{node: HTMLElement, set: (text: string) => void}}
 */
export function command(text = '') {
  const code = el('code');
  const copy = button('', '', async () => {
    try {
      await navigator.clipboard.writeText(code.textContent || '');
      say('Copied');
    } catch {
      // A page that came over plain http may not use the clipboard.
      getSelection()?.selectAllChildren(code);
      say('Press Ctrl+C');
    }
    setTimeout(say, 1800, 'Copy');
  });
  /** @param {string} word */
  const say = word => {
    setText(copy, word);
    // Heard alone, a button has to say what of.
    setAttr(copy, 'aria-label', `${word}: ${code.textContent}`);
  };
  /** @param {string} next */
  const set = next => {
    if (code.textContent === next && copy.textContent) return;
    setText(code, next);
    say('Copy');
  };
  set(text);
  return { node: el('div', 'cmd', code, copy), set };
}
