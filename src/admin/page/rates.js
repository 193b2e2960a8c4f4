// Computes how fast counters grow, from the differences between answers of `/api/status`. Uses no element and no clock:
// the server's own uptime is the time.

/** The seconds over which a rate is taken: long enough to be steady, short enough to be live. */
const SPAN = 5;
/** The seconds of the trend, and the largest number of answers kept for it. */
const TREND = 180;
const KEPT = 400;

export class Rates {
  #taken = [];

  /**
   * Adds an answer of `/api/status`. If its uptime is less than that of the one before, it comes from a new process,
   * and the earlier answers say nothing about that.
   */
  add(status) {
    const last = this.#taken.at(-1);
    if (last && status.uptime_s === last.time) return;
    if (last && status.uptime_s < last.time) this.#taken = [];
    const queues = new Map((status.queues ?? []).map((queue) => [queue.name, queue]));
    const waits = new Map((status.waiting ?? []).map((row) => [waitKey(row), row.waiting]));
    this.#taken.push({ time: status.uptime_s, queues, waits });
    // Waiting rows are needed only for the span of a rate, and would keep 50 names for each second of the trend.
    const older = this.#taken.at(-12);
    if (older) older.waits = new Map();
    while (this.#taken.length > KEPT || this.#taken[0].time < status.uptime_s - TREND - SPAN) this.#taken.shift();
  }

  /** Returns the rate per second of one queue, or `null` while there is nothing to compare with. */
  queue(name, key) {
    return this.#between(this.#earlier(), this.#taken.at(-1), (taken) => taken.queues.get(name)?.[key]);
  }

  /** Returns the rate per second over all queues. */
  total(key) {
    return this.#between(this.#earlier(), this.#taken.at(-1), (taken) => sum(taken, key));
  }

  /** Returns how fast the deliveries that wait for one partner grow, per second; below zero they shrink. */
  growth(row) {
    return this.#between(this.#earlier(), this.#taken.at(-1), (taken) => taken.waits.get(waitKey(row)), true);
  }

  /** Returns `[seconds ago, per second]` over the last minutes, oldest first. */
  trend(key) {
    const points = [];
    const last = this.#taken.at(-1);
    for (let i = 1; i < this.#taken.length; i += 1) {
      const value = this.#between(this.#taken[Math.max(0, i - 3)], this.#taken[i], (taken) => sum(taken, key));
      if (value !== null) points.push([last.time - this.#taken[i].time, value]);
    }
    return points;
  }

  #earlier() {
    const last = this.#taken.at(-1);
    return this.#taken.findLast((taken) => taken.time <= last.time - SPAN) ?? this.#taken[0];
  }

  #between(from, to, value, mayShrink = false) {
    if (!from || !to || to.time <= from.time) return null;
    const [before, after] = [value(from), value(to)];
    // There is no rate for a queue that a reload added or replaced meanwhile.
    if (!Number.isFinite(before) || !Number.isFinite(after) || (after < before && !mayShrink)) return null;
    return (after - before) / (to.time - from.time);
  }
}

const waitKey = (row) => JSON.stringify([row.account, row.queue]);

function sum(taken, key) {
  let all = 0;
  for (const queue of taken.queues.values()) all += queue[key] ?? 0;
  return all;
}

/** Returns the number of a queue's copies that are held: received and not yet counted as ended. */
export function held(queue) {
  const gone = ["acked", "dead", "returned", "duplicates_dropped", "leases_lost"].reduce((all, key) => all + (queue[key] ?? 0), 0);
  return Math.max(0, (queue.received ?? 0) - gone);
}
