/* The last 15 minutes as the balancer tells them, in columns for the charts. What this page saw
   outlives a restart of the balancer; where nothing is known there is a gap. */

export const SPAN = 900;
const STEP = 5;

/**
 * @typedef {object} Point
 * @property {number} time when it ended, Unix seconds
 * @property {number} slots_processing
 * @property {number} slots_total
 * @property {number} requests_waiting
 * @property {number} [oldest_wait_seconds]
 * @property {number} requests
 * @property {number | null} ttfb_p50
 * @property {number | null} ttfb_p95
 * @property {Record<string, number>} errors by code
 * @property {number} [prompt_tokens] of prompts whose answers said what was cached
 * @property {number} [cached_tokens]
 *
 * @typedef {(number | null)[]} Column
 */

export class History {
  constructor() {
    /** The oldest first. @type {Point[]} */
    this._points = [];
    /** Grows with each change. */
    this.version = 0;
  }

  /** Take what the API gave. @param {{points: Point[]}} told */
  merge(told) {
    const all = new Map([...this._points, ...told.points].map(point => [point.time, point]));
    // Later ones are left from before its clock was set back.
    const newest = told.points.at(-1)?.time ?? this._points.at(-1)?.time ?? 0;
    this._points = [...all.values()].filter(({ time }) => time > newest - SPAN && time <= newest).sort((a, b) => a.time - b.time);
    this.version++;
  }

  /**
   * Columns of these values, the times first, with a gap wherever a point is missing.
   * @param {((point: Point) => number | null)[]} reads
   * @returns {Column[]}
   */
  columns(...reads) {
    /** @type {Column[]} */
    const found = [[], ...reads.map(() => [])];
    let before = 0;
    for (const point of this._points) {
      if (before && point.time - before > 1.5 * STEP) {
        found.forEach((column, n) => column.push(n ? null : before + STEP));
      }
      before = point.time;
      found[0].push(point.time);
      reads.forEach((read, n) => found[n + 1].push(read(point)));
    }
    return found;
  }

  /** Requests answered in all of it. */
  requests() {
    return sum(this._points.map(p => p.requests));
  }

  /** Requests a second, of the last 15 seconds. */
  rate() {
    const last = this._points.slice(-3);
    return last.length ? sum(last.map(p => p.requests)) / (STEP * last.length) : 0;
  }

  /** Time to first byte, of the last minute in which there was one. @returns {[number | null, number | null]} */
  firstByte() {
    const last = this._points.slice(-12).findLast(p => p.ttfb_p50 !== null);
    return last ? [last.ttfb_p50, last.ttfb_p95] : [null, null];
  }

  /** Errors by code, in all of it. @returns {Map<string, number>} */
  errors() {
    const found = new Map();
    for (const p of this._points) {
      for (const [code, n] of Object.entries(p.errors)) found.set(code, (found.get(code) ?? 0) + n);
    }
    return new Map([...found].sort());
  }

  /** Tokens of prompts in all of it, and those that were cached. */
  prompts() {
    return { tokens: sum(this._points.map(p => p.prompt_tokens ?? 0)), cached: sum(this._points.map(p => p.cached_tokens ?? 0)) };
  }

  /** The longest wait in all of it; null if that is not told. */
  longestWait() {
    const told = this._points.flatMap(p => p.oldest_wait_seconds ?? []);
    return told.length ? Math.max(...told) : null;
  }

  /** The most that waited at one time. */
  mostWaiting() {
    return Math.max(0, ...this._points.map(p => p.requests_waiting));
  }
}

/** @param {number[]} values */
export const sum = values => values.reduce((a, b) => a + b, 0);
