//! Shares disk syncs among flushes: all flushes that were written at about the same time are synced in one round.
//!
//! A disk that syncs in 2 ms does 500 syncs a second however small they are, and there are thousands of small flushes.
//! So a delivery thread that has written joins the round that is gathering, and goes on to its next flush. One round
//! runs at a time; members that join meanwhile make up the next one. The first thread to find no round running leads
//! the rounds until no member is left.
//!
//! A round waits for more members only after a round that was a crowd, and only for a short time. Each sync costs the
//! kernel some 300 µs of a core, however many flushes it is for: on two busy cores, rounds of a dozen took a third of
//! the cores. With little to write, no round waits to fill up.
//!
//! Called by delivery threads. No thread but the leader waits here, since putting a thread to sleep for each flush and
//! waking it after the sync took longer than the flush itself. The lock is never held during a sync.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The number of members from which a round counts as a crowd.
const CROWD_SIZE: usize = 8;

/// The number of members with which a round no longer waits for more: a member's part of the sync is small by then.
const FULL_SIZE: usize = 256;

/// Gathers members into rounds. A member that is dropped before its round must itself notify the
/// flush that waits for it.
pub struct Rounds<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Signals the leader that the gathering round is full.
    full: Condvar,
    /// How long the leader waits for a full round at most.
    patience: Duration,
}

struct State<T> {
    /// The members of the next round.
    gathering: Vec<T>,
    /// Whether a thread leads, or is about to.
    running: bool,
}

/// The duty to lead the rounds. If it is dropped without [`Lead::run`], or by a panic, it drops the gathering members.
#[must_use = "nobody else leads"]
pub struct Lead<T> {
    shared: Arc<Shared<T>>,
    /// Whether this lead has ended, so that another thread may lead already.
    ended: bool,
}

impl<T> Rounds<T> {
    /// Creates rounds that wait up to `patience` for more members after a round that was a crowd.
    pub fn new(patience: Duration) -> Self {
        let state = Mutex::new(State { gathering: Vec::new(), running: false });
        Self { shared: Arc::new(Shared { state, full: Condvar::new(), patience }) }
    }

    /// Adds a member to the next round. If the result is `Some`, no thread leads the rounds, so the caller must.
    pub fn join(&self, member: T) -> Option<Lead<T>> {
        let mut state = self.shared.state.lock();
        state.gathering.push(member);
        let full = state.gathering.len() == FULL_SIZE;
        let leads = !mem::replace(&mut state.running, true);
        drop(state);
        if full {
            self.shared.full.notify_one();
        }
        leads.then(|| Lead { shared: Arc::clone(&self.shared), ended: false })
    }

    /// Returns the number of members that wait for the next round.
    #[cfg(test)]
    pub fn gathering(&self) -> usize {
        self.shared.state.lock().gathering.len()
    }
}

impl<T> Lead<T> {
    /// Calls `round` with the gathered members, and again with those that have joined meanwhile, until there are none.
    /// `round` must notify each member of the outcome.
    pub fn run(mut self, mut round: impl FnMut(Vec<T>)) {
        let mut crowd = false;
        loop {
            let members = {
                let Shared { state, full, patience } = &*self.shared;
                let mut state = state.lock();
                if crowd {
                    // Whether the round is full or the time is up, the members that are there go.
                    let _ = full.wait_while_for(&mut state, |state| state.gathering.len() < FULL_SIZE, *patience);
                }
                if state.gathering.is_empty() {
                    state.running = false;
                    self.ended = true;
                    return;
                }
                mem::take(&mut state.gathering)
            };
            crowd = members.len() >= CROWD_SIZE;
            round(members);
        }
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let left = {
            let mut state = self.shared.state.lock();
            state.running = false;
            mem::take(&mut state.gathering)
        };
        // Dropped outside the lock, since each member reports that it was dropped.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn alone_it_is_a_round_of_one_at_once() {
        let rounds = Rounds::new(Duration::ZERO);
        let mut led = Vec::new();
        rounds.join(1).unwrap().run(|members| led.push(members));
        assert_eq!(led, [[1]]);
        assert!(rounds.join(2).is_some(), "the first leader has ended");
    }

    #[test]
    fn those_who_come_during_a_round_are_the_next_one_and_do_not_wait() {
        let rounds = Rounds::new(Duration::ZERO);
        let mut led = Vec::new();
        rounds.join(0).unwrap().run(|members| {
            if members == [0] {
                for member in 1..=4 {
                    assert!(rounds.join(member).is_none(), "one leads already");
                }
            }
            led.push(members);
        });
        assert_eq!(led, [vec![0], vec![1, 2, 3, 4]]);
    }

    #[test]
    fn after_a_crowd_a_round_waits_for_a_full_one_and_after_a_few_for_nobody() {
        // Longer than any test runs: a round that waits does so until it is full.
        let rounds = Rounds::new(Duration::from_secs(3600));
        let join = |count| (0..count).for_each(|one| assert!(rounds.join(one).is_none(), "one leads already"));
        let lead = rounds.join(0).unwrap();
        let mut sizes = Vec::new();
        let ended = thread::scope(|scope| {
            let led = std::panic::AssertUnwindSafe(|| {
                lead.run(|members| {
                    sizes.push(members.len());
                    match sizes.len() {
                        1 => join(CROWD_SIZE - 1),
                        2 => join(CROWD_SIZE),
                        3 => drop(scope.spawn(|| join(FULL_SIZE))),
                        _ => panic!("enough: the next round would wait for more"),
                    }
                });
            });
            std::panic::catch_unwind(led)
        });
        assert!(ended.is_err());
        assert_eq!(sizes, [1, CROWD_SIZE - 1, CROWD_SIZE, FULL_SIZE]);
    }

    #[test]
    fn everyone_is_in_exactly_one_round_however_they_come() {
        let rounds = Rounds::new(Duration::ZERO);
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Some(lead) = rounds.join(()) {
                            lead.run(|members| {
                                total.fetch_add(members.len(), Ordering::Relaxed);
                            });
                        }
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 16 * 500);
        assert!(!rounds.shared.state.lock().running);
    }

    #[test]
    fn a_leader_that_panics_drops_who_gathers_and_leaves_the_rounds_usable() {
        struct Member<'a>(&'a AtomicUsize);
        impl Drop for Member<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let dropped = AtomicUsize::new(0);
        let rounds = Rounds::new(Duration::ZERO);
        let lead = rounds.join(Member(&dropped)).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lead.run(|_members| {
                assert!(rounds.join(Member(&dropped)).is_none());
                panic!("as a test wants");
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(dropped.load(Ordering::Relaxed), 2, "the member of the round, and the one that came meanwhile");
        let mut led = 0;
        rounds.join(Member(&dropped)).unwrap().run(|members| led += members.len());
        assert_eq!(led, 1);
    }
}
