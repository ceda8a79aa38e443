/* Light, dark, or as the system has it. */
import { byId, setText } from './dom.js';

const THEMES = ['auto', 'light', 'dark'];
const KEY = 'paddler-theme';
const dark = matchMedia('(prefers-color-scheme: dark)');
const forced = matchMedia('(forced-colors: active)');

function kept() {
  try {
    return localStorage.getItem(KEY) ?? 'auto';
  } catch {
    return 'auto';  // a browser may keep nothing
  }
}

/** @param {string} theme */
function keep(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch { /* it lasts as long as the page */ }
}

/** Follow the system and the button. @param {() => void} changed called when the colours are others */
export function startTheme(changed) {
  let theme = kept();
  const paint = () => {
    const now = theme === 'auto' ? (dark.matches ? 'dark' : 'light') : theme;
    document.documentElement.dataset.theme = now;
    const word = theme[0].toUpperCase() + theme.slice(1);
    setText(byId('theme'), word);
    byId('theme').setAttribute('aria-label', `Colours: ${word}`);
    changed();
  };
  byId('theme').onclick = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    keep(theme);
    paint();
  };
  dark.onchange = forced.onchange = paint;
  paint();
}
