//! What no deliver thread has taken yet: the newest taken first, but for what has waited for long.
//!
//! There are never more flushes than there may be threads, so all that one waits for here is that threads are started and wake up. Where
//! hundreds of partners hang at once, a thread is started for each; those who answer pass by meanwhile, again and again with the same few
//! threads. In the order of coming each of them would wait until the last of the hanging had its thread. Where all are quick and the
//! threads are few for them, the oldest would wait for as long as that lasts, and its partner be taken for slow: so what has waited for
//! [`PATIENCE`] goes first.
//!
//! One thread is woken at a time, and wakes the next if there is still something to take: to wake one for each flush of a turn brought
//! dozens of threads to the cores of which two had found all there was. The lock is held for a push or a pop, as those inside of a channel
//! are; a thread that finds nothing sleeps at once, where a channel's receiver offers its core to the others a few times first.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// By then threads were started for hundreds that hang; a partner is taken for slow after five times that.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a thread gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    One(T),
    /// There was nothing for as long as it was willing to wait.
    Nothing,
    /// There is nothing, and the pile is closed.
    Closed,
}

/// Between the dispatcher, which pushes and waits for nothing, and the threads that pop.
pub struct Pile<T> {
    state: Mutex<State<T>>,
    woken: Condvar,
}

struct State<T> {
    /// The oldest first, each with when it came.
    waiting: VecDeque<(Instant, T)>,
    /// At most so many.
    room: usize,
    /// Threads that sleep, those on their way up included.
    asleep: usize,
    /// One has been woken and is not up yet.
    waking: bool,
    closed: bool,
}

impl<T> Pile<T> {
    pub fn new(room: usize) -> Self {
        let state = State { waiting: VecDeque::with_capacity(room), room, asleep: 0, waking: false, closed: false };
        Self { state: Mutex::new(state), woken: Condvar::new() }
    }

    /// Puts one on top. `false`: there is no room, and it is dropped.
    pub fn push(&self, now: Instant, one: T) -> bool {
        let mut state = self.state.lock();
        if state.waiting.len() >= state.room {
            return false;
        }
        state.waiting.push_back((now, one));
        let wake = state.wakes_one();
        drop(state);
        if wake {
            self.woken.notify_one();
        }
        true
    }

    /// Takes the newest, or the oldest where that has waited for [`PATIENCE`] by the clock. Blocks until there is one, or for so long.
    pub fn pop(&self, clock: impl Fn() -> Instant, willing: Duration) -> Popped<T> {
        let mut state = self.state.lock();
        let mut is_willing = true;
        loop {
            if let Some(one) = state.take(&clock) {
                let wake = state.wakes_one();
                drop(state);
                if wake {
                    self.woken.notify_one();
                }
                return Popped::One(one);
            }
            if state.closed {
                return Popped::Closed;
            }
            if !is_willing {
                return Popped::Nothing;
            }
            state.asleep += 1;
            is_willing = !self.woken.wait_for(&mut state, willing).timed_out();
            state.asleep -= 1;
            state.waking = false;
        }
    }

    pub fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// How many wait for which no thread sleeps that could be woken.
    pub fn unserved(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len().saturating_sub(state.asleep)
    }

    /// Nothing will be pushed any more: those who pop end once it is empty.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.woken.notify_all();
    }
}

impl<T> State<T> {
    fn take(&mut self, clock: impl Fn() -> Instant) -> Option<T> {
        let oldest_first = self.waiting.len() > 1 && self.waiting.front().is_some_and(|(came, _)| *came + PATIENCE <= clock());
        let taken = if oldest_first { self.waiting.pop_front() } else { self.waiting.pop_back() };
        taken.map(|(_, one)| one)
    }

    /// Whether another thread has to be woken; then it counts as being woken.
    fn wakes_one(&mut self) -> bool {
        !self.waiting.is_empty() && self.asleep > 0 && !mem::replace(&mut self.waking, true)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "threads of a test have no other clock")]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use crossbeam_channel::bounded;

    use super::*;

    /// Longer than a test takes.
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn the_newest_is_taken_first_and_the_rest_after_closing() {
        let (pile, now) = (Pile::new(3), Instant::now());
        assert!(pile.push(now, 1) && pile.push(now, 2) && pile.push(now, 3));
        assert!(!pile.push(now, 4), "there is room for three");
        pile.close();
        let popped = [(); 4].map(|()| pile.pop(|| now, LONG));
        assert_eq!(popped, [Popped::One(3), Popped::One(2), Popped::One(1), Popped::Closed]);
    }

    #[test]
    fn what_has_waited_for_long_is_taken_before_what_is_newer() {
        let (pile, start) = (Pile::new(4), Instant::now());
        let later = |part: u32| move || start + PATIENCE * part / 4;
        for (part, one) in [(0, "a"), (1, "b"), (3, "c"), (3, "d")] {
            assert!(pile.push(later(part)(), one));
        }
        assert_eq!(pile.pop(later(3), LONG), Popped::One("d"), "none is old");
        assert_eq!(pile.pop(later(4), LONG), Popped::One("a"));
        assert_eq!(pile.pop(later(4), LONG), Popped::One("c"), "b is not old yet");
        assert_eq!(pile.pop(later(9), LONG), Popped::One("b"));
    }

    #[test]
    fn who_is_not_willing_to_wait_for_longer_gets_nothing() {
        let pile: Pile<()> = Pile::new(1);
        assert_eq!(pile.pop(Instant::now, Duration::from_millis(1)), Popped::Nothing);
        assert!(pile.push(Instant::now(), ()));
        assert_eq!(pile.unserved(), 1, "nobody sleeps there any more");
        assert_eq!(pile.pop(Instant::now, Duration::from_millis(1)), Popped::One(()));
    }

    #[test]
    fn as_many_threads_wake_as_there_are_to_take() {
        const THREADS: usize = 8;
        let (pile, together) = (Pile::new(THREADS), Barrier::new(THREADS + 1));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while pile.pop(Instant::now, LONG) == Popped::One(()) {
                        // Nobody goes on before each has taken one.
                        together.wait();
                    }
                });
            }
            for _ in 0..100 {
                for _ in 0..THREADS {
                    assert!(pile.push(Instant::now(), ()));
                }
                together.wait();
            }
            assert_eq!(pile.len(), 0);
            pile.close();
        });
    }

    #[test]
    fn nothing_stays_behind_however_pushes_and_pops_meet() {
        const ALL: u64 = 20_000;
        let pile = Pile::new(16);
        let (told, taken) = bounded(16);
        thread::scope(|scope| {
            for _ in 0..5 {
                let (pile, told) = (&pile, told.clone());
                scope.spawn(move || {
                    while let Popped::One(one) = pile.pop(Instant::now, LONG) {
                        told.send(one).unwrap();
                    }
                });
            }
            let mut sum = 0;
            for one in 1..=ALL {
                assert!(pile.push(Instant::now(), one));
                // One after the other, then eight at a time.
                if one > ALL / 2 || one % 8 == 0 {
                    let several = if one > ALL / 2 { 1 } else { 8 };
                    sum += taken.iter().take(several).sum::<u64>();
                }
            }
            assert_eq!(sum, ALL * (ALL + 1) / 2);
            pile.close();
        });
    }
}
