/* Asks before an agent is drained or resumed. */
import { post } from './api.js';
import { byId, el, setText, show } from './dom.js';
import { count, many } from './figures.js';
import { busy, taking } from './fleet.js';
import { sum } from './history.js';

/** @typedef {import('./scene.js').Scene} Scene @typedef {import('./fleet.js').Agent} Agent */

export class DrainDialog {
  /** @param {Scene} scene */
  constructor(scene) {
    this._scene = scene;
    this._dialog = /** @type {HTMLDialogElement} */ (byId('ask'));
    this._id = '';
    this._back = false;
    this._running = el('b');
    this._rest = document.createTextNode('');
    byId('askgo').onclick = (/** @type {Event} */ event) => { event.preventDefault(); this._go(); };
  }

  /** @param {string} id of the agent */
  open(id) {
    const agent = this._scene.agents.get(id);
    if (!agent || this._scene.link !== 'live') return;
    this._id = id;
    this._back = agent.draining;
    show(byId('askerror'), false);
    byId('askgo').disabled = false;
    setText(byId('askgo'), this._back ? 'Resume' : 'Drain');
    setText(byId('asknot'), this._back ? 'Keep draining' : 'Keep serving');
    byId('askt').replaceChildren(...(this._back ? ['Send requests to ', el('bdi', '', agent.agent_name), ' again?'] : ['Drain ', el('bdi', '', agent.agent_name), '?']));
    byId('askp').replaceChildren(this._back ? '' : 'No new request goes there. ', this._running, this._rest);
    this._dialog.showModal();
    this.draw();
    byId('asknot').focus();
  }

  /** Keep the words true while it is open. */
  draw() {
    if (!this._dialog.open) return;
    const agent = this._scene.agents.get(this._id);
    if (!agent || this._scene.link !== 'live') this._dialog.close();
    else if (this._back) this._sayBack(agent);
    else this._sayDrain(agent);
  }

  /** @param {Agent} agent */
  _sayBack(agent) {
    setText(this._running, '');
    setText(this._rest, `Its ${many(agent.slots_total, 'slot')} ${agent.slots_total === 1 ? 'joins' : 'join'} the fleet again at once.`);
    show(byId('askw'), false);
  }

  /** @param {Agent} agent */
  _sayDrain(agent) {
    const scene = this._scene;
    const n = busy(agent);
    // Where nothing new goes no slot stays, though answers may still run there.
    const able = [...scene.agents.values()].filter(taking);
    const all = sum(able.map(a => a.slots_total));
    const rest = sum(able.filter(a => a !== agent).map(a => a.slots_total));
    setText(this._running, n ? `Its ${many(n, 'running answer')} ${n === 1 ? 'finishes' : 'finish'}` : 'Nothing runs on it');
    setText(this._rest, `; ${count(rest)} of ${count(all)} slots stay.`);
    const waiting = scene.queue.requests_waiting;
    const timeout = count(scene.timeout());
    const last = all > 0 && rest === 0;
    show(byId('askw'), last || waiting > 0);
    setText(byId('askw'), last ? `This is the last agent taking requests. New ones will wait ${timeout} s, then fail with 504.`
      : `${many(waiting, 'request')} ${waiting === 1 ? 'is' : 'are'} waiting already and will wait longer.`);
  }

  async _go() {
    byId('askgo').disabled = true;
    try {
      await post(`api/v1/agents/${encodeURIComponent(this._id)}/${this._back ? 'resume' : 'drain'}`);
      this._dialog.close();
    } catch (error) {
      setText(byId('askerror'), `That did not work: ${error instanceof Error ? error.message : error}`);
      show(byId('askerror'), true);
    }
    byId('askgo').disabled = false;
  }
}
