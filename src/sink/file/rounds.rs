//! Many wait for the disk, few ask it: the syncs of all that wrote at about the same time are one round.
//!
//! A disk that syncs in 2 ms does 500 syncs a second however small they are, and there are thousands of small flushes. So a deliver
//! thread that has written joins the round that is gathering and waits. One round runs at a time; the threads that come meanwhile are
//! the next one. Nothing waits for a round to fill: the first to find none running leads one at once.
//!
//! Called by deliver threads. The lock is never held during a sync.

use std::mem;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Gathers members into rounds, of which one of them leads each.
pub struct Rounds<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    gathering: Vec<T>,
    /// Where the members of the gathering round wait.
    bell: Arc<Bell>,
    running: bool,
}

#[derive(Default)]
struct Bell {
    rung: Condvar,
    signal: Mutex<Signal>,
}

/// What a waiting member is to do.
#[derive(Default, Clone, Copy)]
enum Signal {
    #[default]
    Wait,
    /// The round before has ended, and one member must lead this one.
    Lead,
    Done,
}

/// What the bell was rung for.
#[derive(PartialEq, Eq)]
enum Call {
    Lead,
    End,
}

impl<T> Rounds<T> {
    pub fn new() -> Self {
        Self { state: Mutex::new(State { gathering: Vec::new(), bell: Arc::default(), running: false }) }
    }

    /// Returns once a round that started after this call has ended. Its leader, perhaps this thread, has run `lead` over all its
    /// members, which tells each how it ended.
    pub fn join(&self, member: T, lead: impl FnOnce(Vec<T>)) {
        let mut state = self.state.lock();
        state.gathering.push(member);
        let bell = Arc::clone(&state.bell);
        if mem::replace(&mut state.running, true) {
            drop(state);
            if bell.wait() == Call::End {
                return;
            }
            state = self.state.lock();
        }
        let members = mem::take(&mut state.gathering);
        mem::take(&mut state.bell);
        drop(state);

        // Also when `lead` panics: the others must not wait for ever.
        let _end = End { rounds: self, bell };
        lead(members);
    }

    /// How many wait for a round that has not begun.
    #[cfg(test)]
    pub fn gathering(&self) -> usize {
        self.state.lock().gathering.len()
    }

    fn end(&self, bell: &Bell) {
        let mut state = self.state.lock();
        if state.gathering.is_empty() {
            state.running = false;
        } else {
            state.bell.ring(Signal::Lead);
        }
        drop(state);
        bell.ring(Signal::Done);
    }
}

impl Bell {
    fn wait(&self) -> Call {
        let mut signal = self.signal.lock();
        loop {
            match *signal {
                Signal::Wait => self.rung.wait(&mut signal),
                Signal::Done => return Call::End,
                Signal::Lead => {
                    // One takes the lead; the others go on waiting for it.
                    *signal = Signal::Wait;
                    return Call::Lead;
                }
            }
        }
    }

    fn ring(&self, signal: Signal) {
        *self.signal.lock() = signal;
        if matches!(signal, Signal::Lead) {
            self.rung.notify_one();
        } else {
            self.rung.notify_all();
        }
    }
}

struct End<'a, T> {
    rounds: &'a Rounds<T>,
    bell: Arc<Bell>,
}

impl<T> Drop for End<'_, T> {
    fn drop(&mut self) {
        self.rounds.end(&self.bell);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use crossbeam_channel::{Receiver, Sender, bounded};

    use super::*;

    #[test]
    fn alone_it_is_a_round_of_one_at_once() {
        let rounds = Rounds::new();
        let mut led = Vec::new();
        rounds.join(1, |members| led = members);
        assert_eq!(led, [1]);
    }

    #[test]
    fn those_who_come_during_a_round_are_the_next_one() {
        let rounds = Rounds::new();
        let (started, on_start): (Sender<()>, Receiver<()>) = bounded(0);
        let (finish, on_finish): (Sender<()>, Receiver<()>) = bounded(0);
        let (led, on_led) = bounded(10);
        thread::scope(|scope| {
            let rounds = &rounds;
            scope.spawn(move || {
                rounds.join(0, |_| {
                    started.send(()).unwrap();
                    on_finish.recv().unwrap();
                });
            });
            on_start.recv().unwrap();
            for member in 1..=4 {
                let led = led.clone();
                scope.spawn(move || rounds.join(member, |members| led.send(members).unwrap()));
            }
            while rounds.gathering() < 4 {
                thread::yield_now();
            }
            finish.send(()).unwrap();
        });
        let mut members = on_led.try_recv().unwrap();
        members.sort_unstable();
        assert_eq!(members, [1, 2, 3, 4]);
        assert!(on_led.try_recv().is_err(), "a second round was run for nobody");
    }

    #[test]
    fn everyone_is_in_exactly_one_round_however_they_come() {
        let rounds = Rounds::new();
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        rounds.join((), |members| {
                            total.fetch_add(members.len(), Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 16 * 500);
        assert!(!rounds.state.lock().running);
    }

    #[test]
    fn a_leader_that_panics_leaves_the_rounds_usable() {
        let rounds = Rounds::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rounds.join(1, |_| panic!("as a test wants"))));
        assert!(panicked.is_err());
        let mut led = Vec::new();
        rounds.join(2, |members| led = members);
        assert_eq!(led, [2]);
    }
}
