/* The words an operator reads: states, cells, kinds of trouble and what to do about each. */

/** @type {Record<string, string>} */
export const STATES = {
  ready: 'Ready', full: 'Full', loading: 'Loading model', sleeping: 'Sleeping',
  draining: 'Draining', quarantined: 'Quarantined', stale: 'Silent', unreachable: 'Unreachable',
};

/** Cells in the order they are drawn: letter, word, meaning. */
export const CELLS = /** @type {const} */ ([
  ['o', 'answering', 'Answering a request this balancer sent'],
  ['p', 'promised', 'Given to a request; llama-server has not shown it yet'],
  ['f', 'foreign', 'Busy with work that did not come through this balancer'],
  ['l', 'client left', 'The client hung up; llama-server is still finishing'],
  ['i', 'idle', 'Free'],
  ['u', 'out', 'Agent in trouble, loading or draining: never counted as free'],
]);

/** What is said of prompts: of their tokens the share that was cached, and how fast the others are. */
export const PROMPTS = {
  cached: 'Cached', of: 'of prompts', speeds: 'Prompt / answer tokens/s', none: 'no prompt in 15 min',
};

/** What stands for "Unreachable" where more is known. @type {Record<string, string>} */
export const SHARPER = {
  unauthorized: 'Key refused', slots_disabled: 'Slots hidden', no_slots: 'No slots',
  bad_json: 'Not llama-server?', bad_status: 'Error from /slots', timeout: 'Slow to answer',
};

/** What the balancer does, where an issue's own text does not say it. */
export const BLOCKED = 'Nothing is sent there.';
export const SERVED = 'Requests still go there, by the balancer’s own count.';

/**
 * @typedef {object} Advice
 * @property {boolean} [bad] a person is needed now
 * @property {string} short in a row, where the agent is served in spite of it
 * @property {string} title
 * @property {string} why what it means
 * @property {boolean} [whole] `why` says what the balancer does, too
 * @property {string} todo leads to the command
 * @property {(port: string) => string} fix what to copy; the port is llama-server's
 */

/** By the API's words; `unreachable` as the agent sees it has its own. @type {Record<string, Advice>} */
export const ISSUES = {
  unreachable: {
    bad: true, short: 'no answer', title: 'llama-server does not answer', whole: true,
    why: 'The agent reports, but nothing opens at the address it gives. Nothing is sent there; it rejoins by itself.',
    todo: 'Check that it runs, and listens for others, not only on 127.0.0.1:',
    fix: port => `llama-server --host 0.0.0.0 --port ${port} …`,
  },
  'unreachable for its agent': {
    bad: true, short: 'no answer', title: 'llama-server does not answer', whole: true,
    why: 'Not even its agent, beside it, gets an answer. Nothing is sent there; it rejoins by itself.',
    todo: 'Start it, or tell the agent where it is with `--local-llamacpp-port`:',
    fix: port => `llama-server --host 0.0.0.0 --port ${port} …`,
  },
  unauthorized: {
    bad: true, short: 'wants a key', title: 'llama-server wants a key',
    why: 'It refused the agent with 401, so its slots are unknown.',
    todo: 'Put the key in a file and restart the agent with:',
    fix: () => '--local-llamacpp-api-key-file FILE',
  },
  slots_disabled: {
    bad: true, short: 'slots hidden', title: 'llama-server hides its slots',
    why: '`/slots` is off, or it runs as a router, so its free slots cannot be counted.',
    todo: 'Restart it without `--no-slots`, or with:',
    fix: () => 'llama-server --slots …',
  },
  no_slots: {
    bad: true, short: 'no slots', title: 'llama-server has no slots',
    why: 'It answers with an empty list.',
    todo: 'Give it some:', fix: () => 'llama-server --parallel 4 …',
  },
  bad_json: {
    bad: true, short: 'not llama-server?', title: 'Something else answers at that port',
    why: 'Not a list of slots: another service, or a very old llama-server.',
    todo: 'See for yourself on that machine:',
    fix: port => `curl -s http://127.0.0.1:${port}/slots`,
  },
  bad_status: {
    bad: true, short: 'error from /slots', title: 'llama-server answers with an error',
    why: '`/slots` came back with an error status.',
    todo: 'Its own log has the reason:', fix: () => 'journalctl -u llama-server -n 50',
  },
  timeout: {
    short: 'slow to answer', title: 'llama-server is slow to answer', whole: true,
    why: 'A long prompt can hold `/slots` up. Running answers go on; it gets no new ones until it answers.',
    todo: 'Nothing, if it passes. If it lasts, let the agent ask less often:', fix: () => '--reporting-interval 5s',
  },
  stale: {
    short: 'silent', title: 'An agent has gone silent', whole: true,
    why: 'Its reports have stopped. Nothing is sent there, running answers go on, and it is forgotten soon.',
    todo: 'On that machine:', fix: () => 'systemctl status paddler-agent',
  },
  quarantined: {
    short: 'left out', title: 'Left out after failures', whole: true,
    why: 'Three requests failed there at once. After the pause one request tries it again.',
    todo: 'If it keeps coming back here, llama-server’s log has the reason:', fix: () => 'journalctl -u llama-server -n 50',
  },
  loading: {
    short: 'still loading', title: 'A model takes long to load', whole: true,
    why: 'It joins by itself once its model is loaded.',
    todo: 'If it never ends, llama-server’s log has the reason:', fix: () => 'journalctl -u llama-server -n 50',
  },
};

/** Seconds after which a model that still loads is a person's job. */
export const LOADING_LONG = 600;
