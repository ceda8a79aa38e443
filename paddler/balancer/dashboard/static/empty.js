/* What to do while there is no agent. */
import { agentCommand } from './attention.js';
import { byId, command, el, icon, setRich, show } from './dom.js';

/** This page came from the machine that it is looked at on. */
const here = /^(localhost$|127\.|\[::1)/.test(location.hostname);

/** @typedef {import('./scene.js').Scene} Scene */

const STEPS = [
  ['Start llama-server', 'Any recent build. Skip this if it already runs.'],
  ['Start an agent beside it', 'On the same machine. It finds llama-server at 127.0.0.1:8088 and reports here every second.'
    + (here ? ` On another machine than this, name this one’s address in place of ${location.hostname}.` : '')],
  ['Ask something', 'Through the balancer; a waiting request is answered the moment a slot is free.'],
];
const TROUBLES = [
  ['The agent says “connection refused”', 'By default the balancer listens for agents on 127.0.0.1 only. Let other machines report with `--management-host 0.0.0.0`, and give it a token: `--management-token-file FILE`.'],
  ['The agent says “401”', 'The management server has a token. Give the agent the same one: `--management-token-file FILE`.'],
  ['It reports, but is unreachable', 'llama-server listens on 127.0.0.1 by default; start it with `--host 0.0.0.0`.'],
];

/** @type {ReturnType<typeof command>[]} */
let commands = [];

/** @param {Scene} scene */
function texts(scene) {
  return [
    'llama-server -m model.gguf --host 0.0.0.0 --port 8088 --parallel 4',
    `${agentCommand(scene)} \\\n  --external-llamacpp-host $(hostname -I | cut -d' ' -f1)`,
    `curl http://${location.hostname}:${scene.publicPort() || '8086'}/v1/chat/completions -d \\\n  '{"messages":[{"role":"user","content":"hello"}]}'`,
  ];
}

function make() {
  commands = STEPS.map(() => command());
  const steps = STEPS.map(([title, note], n) => el('li', '', el('span', '', String(n + 1)), el('div', '', el('b', '', title), el('p', '', note), commands[n].node)));
  const troubles = TROUBLES.map(([title, note]) => {
    const told = el('dd');
    setRich(told, note);
    return el('div', '', el('dt', '', title), told);
  });
  troubles.push(el('div', '', el('dt', '', 'Just looking around?'),
    el('dd', '', 'Real llama-servers, agents and a chat on this machine:', command('paddler demo').node)));
  byId('empty').append(
    el('div', 'card', el('h2', '', 'Add the first agent'), el('ol', '', ...steps),
      el('div', 'listen', icon('loading'), 'Listening for agents. This page changes by itself when one reports.')),
    el('div', 'card', el('h2', '', 'If nothing appears'), el('dl', '', ...troubles)));
}

/** @param {Scene} scene */
export function drawEmpty(scene) {
  // Not before all of it is known.
  const empty = scene.heard && scene.balancer !== null && !scene.agents.size && scene.link !== 'token';
  show(byId('empty'), empty);
  if (!empty) return;
  if (!commands.length) make();
  texts(scene).forEach((text, n) => commands[n].set(text));
}
