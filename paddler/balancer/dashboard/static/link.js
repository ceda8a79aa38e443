/* The connection: follows the streams, asks for the rest, and starts again when it is lost. */
import { Refused, follow, getJson } from './api.js';

const WAITS = [1, 2, 4, 8];
const EVERY = 5000;

/** @param {number} ms @param {AbortSignal} [signal] */
const sleep = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener('abort', () => { clearTimeout(timer); reject(signal.reason); });
});

/**
 * Keep a scene up to date for ever.
 * @param {import('./scene.js').Scene} scene
 * @param {() => void} changed called after each change
 * @param {() => Promise<void>} askToken fires when there is another token
 */
export async function keepLinked(scene, changed, askToken) {
  for (let tries = 0; ; tries++) {
    const stop = new AbortController();
    const before = scene.lastHeard;
    let refused = false;
    try {
      await Promise.race([agents(scene, changed, stop.signal), queue(scene, changed, stop.signal), rest(scene, changed, stop.signal)]);
    } catch (error) {
      refused = error instanceof Refused;
      if (!refused && !(error instanceof Error)) throw error;
    }
    stop.abort();
    if (refused) {
      scene.link = 'token';
      changed();
      await askToken();
      tries = -1;
      continue;
    }
    if (scene.lastHeard !== before) tries = 0;
    const wait = WAITS[Math.min(tries, WAITS.length - 1)];
    if (scene.link !== 'lost') scene.lostAt = Date.now() / 1000;
    scene.link = 'lost';
    scene.retryAt = Date.now() / 1000 + wait;
    changed();
    await sleep(wait * 1000);
  }
}

/** @param {import('./scene.js').Scene} scene @param {() => void} changed @param {AbortSignal} signal */
function agents(scene, changed, signal) {
  return follow('api/v1/agents/stream', signal, (event, data) => {
    scene.hear();
    if (event === 'snapshot') scene.replaceAgents(data.agents);
    else scene.changeAgents(data.changed ?? [], data.left ?? []);
    changed();
  }, date => scene.setClock(date));
}

/** @param {import('./scene.js').Scene} scene @param {() => void} changed @param {AbortSignal} signal */
function queue(scene, changed, signal) {
  return follow('api/v1/buffered_requests/stream', signal, (event, data) => {
    scene.setQueue(data);
    changed();
  });
}

/** What changes slowly; and if nobody answers this, nobody is there. @param {import('./scene.js').Scene} scene @param {() => void} changed @param {AbortSignal} signal */
async function rest(scene, changed, signal) {
  for (;;) {
    const [history, balancer] = await Promise.all([getJson('api/v1/history', signal), getJson('api/v1/balancer', signal)]);
    scene.history.merge(history);
    scene.setBalancer(balancer);
    changed();
    await sleep(EVERY, signal);
  }
}
