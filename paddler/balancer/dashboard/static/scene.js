/* What the page knows: the last word on each agent, the buffer and the balancer, and the time there. */
import { History } from './history.js';

/**
 * @typedef {import('./fleet.js').Agent} Agent
 * @typedef {import('./why.js').Decision} Decision
 * @typedef {{requests_waiting: number, oldest_wait_seconds: number, limit: number, models?: Record<string, number>}} Queue
 * @typedef {{version: string, uptime_seconds: number, reverseproxy: string, management: string, request_buffer_timeout: number}} Balancer
 * @typedef {'connecting' | 'live' | 'lost' | 'token'} Link
 */

const local = () => Date.now() / 1000;

export class Scene {
  constructor() {
    /** @type {Map<string, Agent>} */
    this.agents = new Map();
    /** Grows when an agent comes, goes, or is called something else. */
    this.shape = 0;
    /** @type {Queue} */
    this.queue = { requests_waiting: 0, oldest_wait_seconds: 0, limit: 0 };
    /** @type {Balancer | null} */
    this.balancer = null;
    this.history = new History();
    /** The last ones, the newest first; null: nobody has asked. @type {Decision[] | null} */
    this.decisions = null;
    this._looks = false;
    this._looked = () => {};
    /** @type {Link} */
    this.link = 'connecting';
    /** Whether anything was ever heard. */
    this.heard = false;
    this.lastHeard = 0;
    this.lostAt = 0;
    this.retryAt = 0;
    /** What was answered instead, when it was lost. */
    this.said = '';
    this._queueAt = 0;
    this._bornAt = 0;
    this._ahead = 0;
  }

  /** The balancer's time in Unix seconds; it stands still while the connection is lost. */
  now() {
    return (this.link === 'live' ? local() : this.lastHeard || local()) + this._ahead;
  }

  /** Something came. @param {number} ahead seconds that the clock there is ahead; a date tells whole ones */
  hear(ahead) {
    this.lastHeard = local();
    if (Math.abs(ahead - this._ahead) > 2) this._ahead = Math.abs(ahead) > 2 ? ahead : 0;
  }

  /** Nobody is there. @param {number} wait seconds until it is tried again @param {string} said what was answered instead */
  lose(wait, said) {
    if (this.link !== 'lost') this.lostAt = local();
    this.link = 'lost';
    this.retryAt = local() + wait;
    this.said = said;
  }

  /** All agents. @param {Agent[]} agents */
  replaceAgents(agents) {
    this.heard = true;
    this.link = 'live';
    this.agents = new Map(agents.map(a => [a.agent_id, a]));
    this.shape++;
  }

  /** Those that changed, and the ids of those that left. @param {Agent[]} changed @param {string[]} left */
  changeAgents(changed, left) {
    for (const a of changed) {
      const old = this.agents.get(a.agent_id);
      if (!old || old.agent_name !== a.agent_name || old.models[0] !== a.models[0] || old.external_llamacpp_addr !== a.external_llamacpp_addr) this.shape++;
      this.agents.set(a.agent_id, a);
    }
    for (const id of left) if (this.agents.delete(id)) this.shape++;
  }

  /** @param {Queue} queue */
  setQueue(queue) {
    this.queue = queue;
    this._queueAt = this.now();
  }

  /** How long the first in line has waited by now. */
  oldest() {
    const q = this.queue;
    return q.requests_waiting ? q.oldest_wait_seconds + Math.max(0, this.now() - this._queueAt) : 0;
  }

  /** @param {Balancer} balancer */
  setBalancer(balancer) {
    this.balancer = balancer;
    this._bornAt = this.now() - balancer.uptime_seconds;
  }

  /** Whether somebody looks at the decisions. @param {boolean} looks */
  lookAtDecisions(looks) {
    this._looks = looks;
    if (looks) this._looked();
  }

  /** Fires when somebody does. @returns {Promise<void>} */
  looked() {
    return this._looks ? Promise.resolve() : new Promise(resolve => { this._looked = resolve; });
  }

  uptime() {
    return this.now() - this._bornAt;
  }

  /** Seconds that a request may wait. */
  timeout() {
    return this.balancer?.request_buffer_timeout ?? 60;
  }

  /** The port clients use, if they use one. */
  publicPort() {
    return tcpPort(this.balancer?.reverseproxy ?? '');
  }

  managementPort() {
    return tcpPort(this.balancer?.management ?? '');
  }
}

/** The port in a Twisted endpoint description. @param {string} described */
export function tcpPort(described) {
  return /^(?:tcp|ssl|tls):(?:port=)?(\d+)/.exec(described)?.[1] ?? /:(\d+)$/.exec(described)?.[1] ?? '';
}
