//! What no deliver thread has taken yet, the newest taken first.
//!
//! There are never more flushes than there may be threads, so all that one waits for here is that threads are started and wake up. Where
//! hundreds of partners hang at once, a thread is started for each; those who answer pass by meanwhile, again and again with the same few
//! threads. In the order of coming each of them would wait until the last of the hanging had its thread.
//!
//! One thread is woken at a time, and wakes the next if there is still something to take: to wake one for each flush of a turn brought
//! dozens of threads to the cores of which two had found all there was. The lock is held for a push or a pop, as those inside of a channel
//! are; a thread that finds nothing sleeps at once, where a channel's receiver offers its core to the others a few times first.

use std::mem;

use parking_lot::{Condvar, Mutex};

/// Between the dispatcher, which pushes and waits for nothing, and the threads that pop.
pub struct Pile<T> {
    state: Mutex<State<T>>,
    woken: Condvar,
}

struct State<T> {
    waiting: Vec<T>,
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
        let state = State { waiting: Vec::with_capacity(room), room, asleep: 0, waking: false, closed: false };
        Self { state: Mutex::new(state), woken: Condvar::new() }
    }

    /// Puts one on top. `false`: there is no room, and it is dropped.
    pub fn push(&self, one: T) -> bool {
        let mut state = self.state.lock();
        if state.waiting.len() >= state.room {
            return false;
        }
        state.waiting.push(one);
        let wake = state.wakes_one();
        drop(state);
        if wake {
            self.woken.notify_one();
        }
        true
    }

    /// Takes the newest. Blocks until there is one; `None`: there is none, and the pile is closed.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(one) = state.waiting.pop() {
                let wake = state.wakes_one();
                drop(state);
                if wake {
                    self.woken.notify_one();
                }
                return Some(one);
            }
            if state.closed {
                return None;
            }
            state.asleep += 1;
            self.woken.wait(&mut state);
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
    /// Whether another thread has to be woken; then it counts as being woken.
    fn wakes_one(&mut self) -> bool {
        !self.waiting.is_empty() && self.asleep > 0 && !mem::replace(&mut self.waking, true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn the_newest_is_taken_first_and_the_rest_after_closing() {
        let pile = Pile::new(3);
        assert!(pile.push(1) && pile.push(2) && pile.push(3));
        assert!(!pile.push(4), "there is room for three");
        pile.close();
        assert_eq!([pile.pop(), pile.pop(), pile.pop(), pile.pop()], [Some(3), Some(2), Some(1), None]);
    }

    #[test]
    fn as_many_threads_wake_as_there_are_to_take() {
        const THREADS: usize = 8;
        let (pile, together) = (Pile::new(THREADS), Barrier::new(THREADS + 1));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(()) = pile.pop() {
                        // Nobody goes on before each has taken one.
                        together.wait();
                    }
                });
            }
            for _ in 0..100 {
                for _ in 0..THREADS {
                    assert!(pile.push(()));
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
                    while let Some(one) = pile.pop() {
                        told.send(one).unwrap();
                    }
                });
            }
            let mut sum = 0;
            for one in 1..=ALL {
                assert!(pile.push(one));
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
