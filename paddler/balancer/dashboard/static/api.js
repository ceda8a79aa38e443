/* Asking the balancer: addresses relative to the page, the token, JSON, and streams of events. */

const KEY = 'paddler-token';
let token = '';
try {
  token = sessionStorage.getItem(KEY) ?? '';
} catch { /* a browser may keep nothing: it is asked for anew */ }

/** The balancer wants a token, or another one. */
export class Refused extends Error {
  constructor() {
    super('the balancer did not take this token');
  }
}

/** It answered something else than was asked for. */
export class Failed extends Error {}

/** Nothing came for so long that nobody can be there. */
export class Silent extends Error {}

/** Milliseconds in which a question is answered, or nobody is there. */
const PATIENCE = 5000;
/** Milliseconds in which a stream says something; the balancer sends a comment after 15 s. */
const SILENCE = 25_000;

let ahead = 0;

/** Seconds that the balancer's clock is ahead of this one, as far as the latest answer's date tells. */
export const clockAhead = () => ahead;

/** Whether a token is at hand. */
export const hasToken = () => token !== '';

/** Show this token from now on, as long as this tab lives. @param {string} next */
export function useToken(next) {
  token = next;
  try {
    sessionStorage.setItem(KEY, next);
  } catch { /* this page has it */ }
}

/**
 * @param {string} path relative to the page, so that a path before it does no harm
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} a good answer
 * @throws {Refused} @throws {Failed} @throws {TypeError} there was none
 */
async function ask(path, options = {}) {
  const headers = new Headers(token ? { Authorization: `Bearer ${token}` } : {});
  const response = await fetch(path, { cache: 'no-store', credentials: 'same-origin', ...options, headers });
  const date = Date.parse(response.headers.get('date') ?? '');
  if (date) ahead = (date + 500 - Date.now()) / 1000;
  if (response.status === 401) throw new Refused();
  if (!response.ok) {
    const said = await response.json().catch(() => null);
    throw new Failed(`${response.status} ${said?.error?.message ?? response.statusText}`.trim());
  }
  return response;
}

/** Ask for JSON. @param {string} path @param {AbortSignal} signal @returns {Promise<any>} */
export async function getJson(path, signal) {
  return (await ask(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]) })).json();
}

/** Have something done. @param {string} path */
export async function post(path) {
  await ask(path, { method: 'POST', signal: AbortSignal.timeout(2 * PATIENCE) });
}

/**
 * Follow a stream of server-sent events until it ends. `EventSource` would send no token.
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {(event: string, data: any) => void} heard
 * @param {() => void} alive called whenever anything comes, be it a comment
 * @throws {Silent} nothing came for long: a connection may be dead without an end
 */
export async function follow(path, signal, heard, alive) {
  const silent = new AbortController();
  let timer = 0;
  const listen = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silent.abort(new Silent()), SILENCE);
  };
  listen();
  try {
    const response = await ask(path, { signal: AbortSignal.any([signal, silent.signal]) });
    const reader = /** @type {ReadableStream} */ (response.body).pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      listen();
      alive();
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? '';
      for (const block of blocks) tell(block, heard);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** @param {string} block the lines of one event @param {(event: string, data: any) => void} heard */
function tell(block, heard) {
  let event = 'message';
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith('event:')) event = line.slice(6).trim();
    else if (line.startsWith('data:')) data.push(line.slice(5));
  }
  if (data.length) heard(event, JSON.parse(data.join('\n')));
}
