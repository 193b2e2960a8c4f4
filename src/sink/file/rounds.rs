//! Many wait for the disk, few ask it: the syncs of all that wrote at about the same time are one round.
//!
//! A disk that syncs in 2 ms does 500 syncs a second however small they are, and there are thousands of small flushes. So a deliver
//! thread that has written joins the round that is gathering, and goes on to the next flush. One round runs at a time; those that come
//! meanwhile are the next one. Nothing waits for a round to fill: the first to find none running leads, until nobody is left.
//!
//! Nobody waits here: to put a thread to sleep for each flush and to wake it after the sync took longer than the flush itself. Called by
//! deliver threads. The lock is never held during a sync.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

/// Gathers members into rounds. A member that is dropped without having been led must tell whoever waits for it.
pub struct Rounds<T> {
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    gathering: Vec<T>,
    /// Somebody leads, or is about to.
    running: bool,
}

/// The duty to lead. Dropped without [`Lead::run`], or by a panic, it drops who gathers.
#[must_use = "nobody else leads"]
pub struct Lead<T> {
    state: Arc<Mutex<State<T>>>,
    /// Another may lead already.
    ended: bool,
}

impl<T> Rounds<T> {
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State { gathering: Vec::new(), running: false })) }
    }

    /// Adds a member to the round that begins next. `Some`: nobody leads, so the caller must.
    pub fn join(&self, member: T) -> Option<Lead<T>> {
        let mut state = self.state.lock();
        state.gathering.push(member);
        (!mem::replace(&mut state.running, true)).then(|| Lead { state: Arc::clone(&self.state), ended: false })
    }

    /// How many wait for a round that has not begun.
    #[cfg(test)]
    pub fn gathering(&self) -> usize {
        self.state.lock().gathering.len()
    }
}

impl<T> Lead<T> {
    /// Runs `round` over those who gather, and again over those who come meanwhile, until nobody does. `round` tells each member how it
    /// ended.
    pub fn run(mut self, mut round: impl FnMut(Vec<T>)) {
        loop {
            let members = {
                let mut state = self.state.lock();
                if state.gathering.is_empty() {
                    state.running = false;
                    self.ended = true;
                    return;
                }
                mem::take(&mut state.gathering)
            };
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
            let mut state = self.state.lock();
            state.running = false;
            mem::take(&mut state.gathering)
        };
        // Not under the lock: each tells somebody.
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
        let rounds = Rounds::new();
        let mut led = Vec::new();
        rounds.join(1).unwrap().run(|members| led.push(members));
        assert_eq!(led, [[1]]);
        assert!(rounds.join(2).is_some(), "the first leader has ended");
    }

    #[test]
    fn those_who_come_during_a_round_are_the_next_one_and_do_not_wait() {
        let rounds = Rounds::new();
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
    fn everyone_is_in_exactly_one_round_however_they_come() {
        let rounds = Rounds::new();
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
        assert!(!rounds.state.lock().running);
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
        let rounds = Rounds::new();
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
