//! The flushes that no delivery thread has taken yet. The newest is taken first, unless the oldest has waited for long.
//! Shared by `dispatch`, which pushes and never waits, and the delivery threads, which pop.
//!
//! There are never more flushes than there may be threads, so a flush waits here only for threads to start and wake up.
//! When hundreds of partners hang at once, a thread is started for each of their flushes. Meanwhile, flushes of
//! partners that answer pass by, again and again on the same few threads. In order of arrival, each of these would wait
//! until the last of the hanging flushes had its thread. Newest first has the opposite weakness: while all partners are
//! quick and threads are few, the oldest flush would wait for as long as that lasts, and its partner would be taken for
//! slow. So a flush that has waited for [`OLDEST_FIRST_AFTER`] goes first.
//!
//! One thread is woken at a time, and wakes the next one if something is left to take. Waking a thread for each flush
//! of a turn brought dozens of threads to the cores, of which two had already taken everything. The one that fell asleep
//! last is woken first, so that threads that are not needed stay asleep and can end: in turn, each of a thousand that an
//! outage has left would get a flush now and then, and keep its stack and its part of the heap for as long as there is work.
//! The lock is held for one push or pop, like the locks inside a channel. A thread that finds nothing sleeps at once, whereas
//! a channel's receiver yields its core a few times first.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long the oldest flush waits at most while newer ones are taken. By then, threads were started even for hundreds
/// of hanging partners. A partner counts as slow only after five times as long.
const OLDEST_FIRST_AFTER: Duration = Duration::from_millis(200);

/// The result of [`Pile::pop`].
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// An item.
    One(T),
    /// There was nothing for as long as the thread was willing to wait.
    Nothing,
    /// There is nothing left, and the pile is closed.
    Closed,
}

/// The items between the dispatcher, which pushes and never waits, and the threads that pop.
pub struct Pile<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The items with their times of arrival, the oldest first.
    waiting: VecDeque<(Instant, T)>,
    /// The largest number of items.
    room: usize,
    /// What wakes each sleeping thread; that of the thread that fell asleep last is the last.
    asleep: Vec<Arc<Condvar>>,
    /// Whether a thread was woken, and so is no longer among those, and has not taken the lock yet.
    waking: bool,
    /// Whether nothing will be pushed any more.
    closed: bool,
}

impl<T> Pile<T> {
    /// Creates a pile for at most `room` items.
    pub fn new(room: usize) -> Self {
        let state = State { waiting: VecDeque::with_capacity(room), room, asleep: Vec::new(), waking: false, closed: false };
        Self { state: Mutex::new(state) }
    }

    /// Adds an item. Returns `false` if there is no room; the item is then dropped.
    pub fn push(&self, now: Instant, one: T) -> bool {
        let mut state = self.state.lock();
        if state.waiting.len() >= state.room {
            return false;
        }
        state.waiting.push_back((now, one));
        let sleeper = state.wakes_one();
        drop(state);
        wake(sleeper);
        true
    }

    /// Takes the newest item, or the oldest if that has waited for [`OLDEST_FIRST_AFTER`] by `clock`. Blocks until there is an
    /// item, for at most `willing`.
    pub fn pop(&self, clock: impl Fn() -> Instant, willing: Duration) -> Popped<T> {
        let mut state = self.state.lock();
        let mut is_willing = true;
        loop {
            if let Some(one) = state.take(&clock) {
                let sleeper = state.wakes_one();
                drop(state);
                wake(sleeper);
                return Popped::One(one);
            }
            if state.closed {
                return Popped::Closed;
            }
            if !is_willing {
                return Popped::Nothing;
            }
            let sleeper = Arc::new(Condvar::new());
            state.asleep.push(Arc::clone(&sleeper));
            sleeper.wait_for(&mut state, willing);
            // Whoever wakes a thread takes it off, also in the moment in which its time is over.
            match state.asleep.iter().position(|other| Arc::ptr_eq(other, &sleeper)) {
                Some(at) => {
                    state.asleep.remove(at);
                    is_willing = false;
                }
                None => state.waking = false,
            }
        }
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Returns the number of items for which there is no thread that sleeps or wakes up.
    pub fn unserved(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len().saturating_sub(state.asleep.len() + usize::from(state.waking))
    }

    /// Returns the number of sleeping threads.
    #[cfg(test)]
    fn sleeping(&self) -> usize {
        self.state.lock().asleep.len()
    }

    /// Closes the pile: nothing will be pushed any more, and threads that pop get [`Popped::Closed`] once it is empty.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let asleep = mem::take(&mut state.asleep);
        drop(state);
        asleep.into_iter().for_each(|sleeper| wake(Some(sleeper)));
    }
}

impl<T> State<T> {
    fn take(&mut self, clock: impl Fn() -> Instant) -> Option<T> {
        let oldest_first =
            self.waiting.len() > 1 && self.waiting.front().is_some_and(|(came, _)| *came + OLDEST_FIRST_AFTER <= clock());
        let taken = if oldest_first { self.waiting.pop_front() } else { self.waiting.pop_back() };
        taken.map(|(_, one)| one)
    }

    /// Returns what wakes another thread, which is recorded as waking; `None` if none has to be woken.
    fn wakes_one(&mut self) -> Option<Arc<Condvar>> {
        if self.waiting.is_empty() || self.waking {
            return None;
        }
        let sleeper = self.asleep.pop();
        self.waking = sleeper.is_some();
        sleeper
    }
}

/// Wakes a thread, without the lock that it needs next.
fn wake(sleeper: Option<Arc<Condvar>>) {
    if let Some(sleeper) = sleeper {
        sleeper.notify_one();
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
        let later = |part: u32| move || start + OLDEST_FIRST_AFTER * part / 4;
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
                        // No thread goes on before each has taken one.
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
    fn the_thread_that_fell_asleep_last_is_woken_so_that_those_without_work_can_end() {
        const THREADS: usize = 8;
        let pile = Pile::new(1);
        let (told, taken) = bounded(1);
        let all_sleep = |pile: &Pile<()>| {
            while pile.sleeping() < THREADS {
                thread::yield_now();
            }
        };
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (pile, told) = (&pile, told.clone());
                scope.spawn(move || {
                    while pile.pop(Instant::now, LONG) == Popped::One(()) {
                        told.send(thread).unwrap();
                    }
                });
            }
            let mut busy: Vec<usize> = (0..100)
                .map(|_| {
                    all_sleep(&pile);
                    assert!(pile.push(Instant::now(), ()));
                    taken.recv().unwrap()
                })
                .collect();
            all_sleep(&pile);
            // Before the check: the threads would outlast a test that fails.
            pile.close();
            busy.dedup();
            assert_eq!(busy.len(), 1, "{busy:?}");
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
                // Eight at a time in the first half, one at a time in the second.
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
