/* A balancer of another version has another page: it is loaded, once for each version. */

const KEY = 'paddler-versions';
let first = '';

/** @param {string} version the balancer's, as it was heard last */
export function renewFor(version) {
  first ||= version;
  if (version === first) return;
  try {
    // Two balancers of two versions behind one address must not have it loaded for ever.
    const seen = (sessionStorage.getItem(KEY) ?? '').split(' ');
    if (seen.includes(version)) return;
    sessionStorage.setItem(KEY, [...seen, version].join(' '));
  } catch {
    return;  // a browser may keep nothing
  }
  location.reload();
}
