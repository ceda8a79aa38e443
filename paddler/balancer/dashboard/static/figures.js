/* Numbers as people read them. */

/** With commas: "1,000". @type {(n: number) => string} */
export const count = new Intl.NumberFormat('en-US').format;

/** A large one in few characters: "355M". @type {(n: number) => string} */
export const brief = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 }).format;

/** "1 agent", "3 agents". @param {number} n @param {string} one */
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

/** A time that was measured: "380 ms", "1.9 s", "41 s"; "none". @param {number | null} s seconds */
export function secs(s) {
  if (s === null) return 'none';
  if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
  return s < 9.95 ? `${s.toFixed(1)} s` : `${count(Math.round(s))} s`;
}

/** A time that passes, in whole steps: "8 s", "2 min", "6 d 4 h". @param {number} s seconds */
export function span(s) {
  if (s < 90) return `${Math.max(0, Math.floor(s))} s`;
  if (s < 5400) return `${Math.floor(s / 60)} min`;
  if (s < 129600) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** How long somebody waits: steps of a second, or finer below ten. @param {number} s seconds */
export const waited = s => (s < 1 ? 'under 1 s' : s < 90 ? `${Math.floor(s)} s` : span(s));

/** How often something happens in a second. @param {number} r */
export const rate = r => (r && r < 9.95 ? r.toFixed(1) : count(Math.round(r)));

/** A share in whole percents; "unknown". @param {number | null} share */
export const percent = share => (share === null ? 'unknown' : `${Math.round(100 * share)} %`);

/** The next round number that is not below. @param {number} v */
export function roundUp(v) {
  const unit = 10 ** Math.floor(Math.log10(v || 1));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map(k => k * unit).find(k => k >= v * 0.999999) ?? v;
}

/** A clock's time. @param {number} at seconds since 1970 */
export const clock = at => new Date(at * 1000).toTimeString().slice(0, 8);
