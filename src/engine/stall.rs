//! The rule by which an engine has stalled: some kind of work is due but not begun, and none of it moves for a minute.
//! Pure: the caller passes the time in.

use std::time::{Duration, Instant};

/// How long work that is due may not move before it counts as stalled.
pub const STALL_AFTER: Duration = Duration::from_secs(60);

/// The longest time that one look adds. A process that was held up as a whole (by a debugger, or on a machine that was
/// asleep) has not stalled.
const MAX_COUNTED_PAUSE: Duration = Duration::from_secs(5);

/// The progress of one kind of work.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// The name of the work, for people: `handlers of queue stock`.
    pub what: String,
    /// The number of pieces of work that could be done now and are not begun.
    pub due: usize,
    /// A number that changes whenever some of the work is done.
    pub done: u64,
    /// How much longer than [`STALL_AFTER`] the work may rightly not move.
    pub patience: Duration,
}

/// Work that does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// The name of the work, as in [`Gauge`].
    pub what: String,
    /// The number of pieces of work that are due.
    pub due: usize,
    /// How long the work has not moved.
    pub lasts: Duration,
}

/// Remembers since when each kind of work has not moved.
#[derive(Debug)]
pub struct Watch {
    looked_at: Instant,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    what: String,
    done: u64,
    /// How long the work has been due without moving.
    quiet: Duration,
}

impl Watch {
    /// Starts watching.
    pub fn new(now: Instant) -> Self {
        Self { looked_at: now, seen: Vec::new() }
    }

    /// Looks at all kinds of work, and returns those that have stalled. To be called about once a second.
    pub fn look(&mut self, now: Instant, gauges: &[Gauge]) -> Vec<Stall> {
        let passed = now.saturating_duration_since(self.looked_at).min(MAX_COUNTED_PAUSE);
        self.looked_at = now;
        let mut before = std::mem::take(&mut self.seen);
        let mut stalls = Vec::new();
        for Gauge { what, due, done, patience } in gauges {
            let (due, done, patience) = (*due, *done, *patience);
            let last = before.iter().position(|seen| seen.what == *what).map(|at| before.swap_remove(at));
            let quiet = match last {
                Some(seen) if due > 0 && seen.done == done => seen.quiet + passed,
                _ => Duration::ZERO,
            };
            if quiet >= STALL_AFTER + patience {
                stalls.push(Stall { what: what.clone(), due, lasts: quiet });
            }
            self.seen.push(Seen { what: what.clone(), done, quiet });
        }
        stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Rig {
        watch: Watch,
        now: Instant,
        gauges: Vec<Gauge>,
    }

    impl Rig {
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        fn new(names: &[&str]) -> Self {
            let now = Instant::now();
            let gauges = names.iter().map(|what| Gauge { what: (*what).to_owned(), due: 0, done: 0, patience: Duration::ZERO });
            Self { watch: Watch::new(now), now, gauges: gauges.collect() }
        }

        fn due(&mut self, at: usize, due: usize) {
            self.gauges[at].due = due;
        }

        fn done(&mut self, at: usize) {
            self.gauges[at].done += 1;
        }

        /// Looks once a second for this long, and returns what has stalled at the end.
        fn after(&mut self, seconds: u32) -> Vec<String> {
            let mut stalls = Vec::new();
            for _ in 0..seconds {
                self.now += SECOND;
                stalls = self.watch.look(self.now, &self.gauges);
            }
            stalls.into_iter().map(|stall| stall.what).collect()
        }
    }

    #[test]
    fn what_is_due_and_does_not_move_for_a_minute_has_stalled_until_it_moves() {
        let mut rig = Rig::new(&["handlers", "acks"]);
        rig.due(0, 5);
        rig.due(1, 5);
        assert!(rig.after(60).is_empty(), "the first look only learns what was done before");
        rig.done(1);
        assert_eq!(rig.after(1), ["handlers"]);
        rig.done(0);
        assert!(rig.after(1).is_empty());
    }

    #[test]
    fn where_nothing_is_due_nothing_stalls() {
        let mut rig = Rig::new(&["handlers"]);
        assert!(rig.after(3600).is_empty());
        rig.due(0, 1);
        assert!(rig.after(59).is_empty());
        rig.due(0, 0);
        rig.after(1);
        rig.due(0, 1);
        assert!(rig.after(59).is_empty(), "it was done meanwhile, or became a stated wait");
    }

    #[test]
    fn work_that_may_take_long_gets_its_time() {
        let mut rig = Rig::new(&["receives"]);
        rig.gauges[0].patience = 20 * SECOND;
        rig.due(0, 1);
        assert!(rig.after(80).is_empty());
        assert_eq!(rig.after(1), ["receives"]);
    }

    #[test]
    fn a_machine_that_was_asleep_has_not_stalled() {
        let mut rig = Rig::new(&["handlers"]);
        rig.due(0, 1);
        rig.after(1);
        rig.now += 1000 * SECOND;
        assert!(rig.after(50).is_empty());
        assert_eq!(rig.after(10), ["handlers"]);
    }
}
