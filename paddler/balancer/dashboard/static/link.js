/* The connection: follows the agents, asks for the rest, and starts again when it is lost.

   A browser opens few connections to one server, for all its pages together. So a page keeps one,
   and none while it is hidden: then it only asks now and then, for its title. */
import { Failed, Refused, clockAhead, follow, getJson } from './api.js';

/** Seconds until it is tried again. */
const WAITS = [1, 2, 4, 8];
/** Milliseconds from one question to the next: for who waits, and for all else. */
const OFTEN = 1000;
const EVERY = 5000;
/** The same from one look at the decisions to the next, while somebody looks. */
const DECISIONS = 2000;

/** @typedef {import('./scene.js').Scene} Scene */

/** @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
const sleep = (ms, signal) => new Promise((resolve, reject) => {
  const stop = () => { clearTimeout(timer); reject(signal?.reason); };
  const timer = setTimeout(() => { signal?.removeEventListener('abort', stop); resolve(); }, ms);
  signal?.addEventListener('abort', stop);
});

/**
 * Keep a scene up to date for ever.
 * @param {Scene} scene
 * @param {() => void} changed called after each change
 * @param {() => Promise<void>} askToken fires when there is another token
 */
export async function keepLinked(scene, changed, askToken) {
  for (let tries = 0; ; tries++) {
    let said = '';
    try {
      if (await listen(scene, changed)) continue;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if (error instanceof Refused) {
        scene.link = 'token';
        changed();
        await askToken();
        tries = -1;
        continue;
      }
      said = error instanceof Failed ? error.message : '';
    }
    if (scene.link === 'live') tries = 0;
    const wait = WAITS[Math.min(tries, WAITS.length - 1)];
    scene.lose(wait, said);
    changed();
    await sleep(wait * 1000);
  }
}

/**
 * Listen until that ends.
 * @param {Scene} scene @param {() => void} changed
 * @returns {Promise<boolean>} the page was hidden or shown; else nobody is there any more
 */
async function listen(scene, changed) {
  const stop = new AbortController();
  const { signal } = stop;
  const turned = new Promise(resolve => {
    document.addEventListener('visibilitychange', () => resolve(true), { once: true, signal });
  });
  /** @param {number} every @param {() => Promise<void>} once */
  const asking = async (every, once) => {
    for (;;) {
      await once();
      scene.hear(clockAhead());
      changed();
      await sleep(every, signal);
    }
  };
  const agents = () => asking(EVERY, async () => scene.replaceAgents((await getJson('api/v1/agents', signal)).agents));
  const queue = async () => scene.setQueue(await getJson('api/v1/buffered_requests', signal));
  const rest = async () => {
    const [history, balancer] = await Promise.all([getJson('api/v1/history', signal), getJson('api/v1/balancer', signal)]);
    scene.history.merge(history);
    scene.setBalancer(balancer);
  };
  const decisions = async () => {
    await scene.looked();
    scene.decisions = (await getJson('api/v1/decisions', signal)).decisions;
  };
  try {
    const { hidden } = document;
    const first = hidden ? agents() : followAgents(scene, changed, signal);
    const ended = await Promise.race([turned, first, asking(hidden ? EVERY : OFTEN, queue), asking(EVERY, rest),
      ...(hidden ? [] : [asking(DECISIONS, decisions)])]);
    return ended === true;
  } finally {
    stop.abort();
  }
}

/** @param {Scene} scene @param {() => void} changed @param {AbortSignal} signal */
function followAgents(scene, changed, signal) {
  return follow('api/v1/agents/stream', signal, (event, data) => {
    if (event === 'snapshot') scene.replaceAgents(data.agents);
    else scene.changeAgents(data.changed ?? [], data.left ?? []);
    changed();
  }, () => scene.hear(clockAhead()));
}
