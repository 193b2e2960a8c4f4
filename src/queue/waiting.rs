//! The long poll of the embedded queues: how a receive that finds no message waits for one.
//!
//! It runs on the thread that calls the receive, and never holds a queue's lock while it waits.
//! A change made through the same queue object wakes it at once. Events that nothing announces
//! (a lease that lapses, a send by another process) are found by a look every [`LOOK_INTERVAL`].

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::QueueError;
use crate::message::Received;

/// The interval between two looks for events that nothing announces: 20 cheap reads a second for an idle queue.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The waiting receives of one queue object, and the means to wake them.
#[derive(Default)]
pub(super) struct Waiting {
    /// The number of announcements so far, so that one made between a failed attempt and the wait is not missed.
    announced: AtomicU64,
    waiters: AtomicUsize,
    ended: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Waiting {
    /// Announces that a message may have become available. Costs two atomic operations while no receive waits.
    pub(super) fn announce(&self) {
        // The order of these two matters, and both must be sequentially consistent: a waiter counts itself
        // before it compares the announcements, so either it is counted here or it sees this announcement.
        self.announced.fetch_add(1, Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock());
            self.wake.notify_all();
        }
    }

    /// Ends all waits, those under way and later ones.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.announce();
    }

    /// Calls `take` until it returns a message or `wait` has passed since the first call. Before each further call it
    /// asks `any` whether another attempt is worth it, because an attempt may cost a lock that other threads need.
    pub(super) fn receive(
        &self,
        wait: Duration,
        mut take: impl FnMut() -> Result<Vec<Received>, QueueError>,
        any: impl Fn() -> Result<bool, QueueError>,
    ) -> Result<Vec<Received>, QueueError> {
        let mut seen = self.announced.load(Ordering::SeqCst);
        let taken = take()?;
        if !taken.is_empty() || wait.is_zero() {
            return Ok(taken);
        }
        let start = now();
        loop {
            let left = wait.saturating_sub(now().saturating_duration_since(start));
            if left.is_zero() || self.ended.load(Ordering::SeqCst) {
                return Ok(Vec::new());
            }
            self.pause(seen, left.min(LOOK_INTERVAL));
            seen = self.announced.load(Ordering::SeqCst);
            if any()? {
                let taken = take()?;
                if !taken.is_empty() {
                    return Ok(taken);
                }
            }
        }
    }

    /// Blocks until there is an announcement that the caller has not seen, or until `limit` has passed.
    fn pause(&self, seen: u64, limit: Duration) {
        let mut guard = self.lock.lock();
        self.waiters.fetch_add(1, Ordering::SeqCst);
        if self.announced.load(Ordering::SeqCst) == seen {
            self.wake.wait_for(&mut guard, limit);
        }
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

#[expect(clippy::disallowed_methods, reason = "an edge: the end of a long poll, which must not move with the wall clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::message::{Message, Receipt};

    const LONG: Duration = Duration::from_secs(3600);

    fn one() -> Vec<Received> {
        let message = Arc::new(Message::new("1", "1"));
        vec![Received { message, receipt: Receipt::Row { row: 1, receive: 1 }, sequence: 0, settled: None }]
    }

    #[test]
    fn nothing_is_waited_for_when_there_is_something_or_no_time() {
        let waiting = Waiting::default();
        let never = || panic!("asked although nothing is waited for");
        assert_eq!(waiting.receive(LONG, || Ok(one()), never).unwrap().len(), 1);
        assert!(waiting.receive(Duration::ZERO, || Ok(Vec::new()), never).unwrap().is_empty());
    }

    #[test]
    fn an_announcement_between_the_attempt_and_the_pause_is_not_missed() {
        let waiting = Arc::new(Waiting::default());
        let seen = waiting.announced.load(Ordering::SeqCst);
        waiting.announce();
        let (ended, end) = crossbeam_channel::bounded(1);
        let pauses = Arc::clone(&waiting);
        let body = move || {
            pauses.pause(seen, LONG);
            ended.send(()).unwrap();
        };
        let pauses = std::thread::Builder::new().name("pauses".to_owned()).spawn(body).unwrap();
        assert!(end.recv_timeout(LONG / 60).is_ok(), "the announcement was missed");
        pauses.join().unwrap();
    }

    #[test]
    fn an_attempt_is_made_again_only_when_it_is_worth_it() {
        let waiting = Waiting::default();
        let (attempts, looks) = (Cell::new(0), Cell::new(0));
        let take = || {
            attempts.set(attempts.get() + 1);
            Ok(if attempts.get() == 1 { Vec::new() } else { one() })
        };
        let any = || {
            looks.set(looks.get() + 1);
            Ok(looks.get() == 2)
        };
        assert_eq!(waiting.receive(LONG, take, any).unwrap().len(), 1);
        assert_eq!((attempts.get(), looks.get()), (2, 2));
    }

    #[test]
    fn a_wait_looks_a_few_times_and_once_more_for_each_announcement() {
        let waiting = Waiting::default();
        let looks = Cell::new(0);
        let take = || {
            waiting.announce();
            Ok(Vec::new())
        };
        let any = || {
            looks.set(looks.get() + 1);
            Ok(false)
        };
        assert!(waiting.receive(LOOK_INTERVAL * 2, take, any).unwrap().is_empty());
        assert!(looks.get() <= 4, "{} looks", looks.get());
    }

    #[test]
    fn an_end_wakes_a_wait_that_is_under_way_and_forbids_later_ones() {
        let waiting = Arc::new(Waiting::default());
        let (tried, was_tried) = sync_channel(1);
        let waiter = std::thread::Builder::new()
            .spawn({
                let waiting = waiting.clone();
                move || {
                    let take = || {
                        tried.send(()).unwrap();
                        Ok(Vec::new())
                    };
                    waiting.receive(LONG, take, || Ok(false)).unwrap().len()
                }
            })
            .unwrap();
        was_tried.recv().unwrap();
        waiting.end();
        assert_eq!(waiter.join().unwrap(), 0);
        assert!(waiting.receive(LONG, || Ok(Vec::new()), || Ok(false)).unwrap().is_empty());
    }

    #[test]
    fn an_attempt_that_fails_ends_the_wait_with_its_error() {
        let waiting = Waiting::default();
        let failure = || QueueError::Missing { queue: "q".into(), why: "gone".into() };
        assert!(waiting.receive(LONG, || Ok(Vec::new()), || Err(failure())).is_err());
        assert!(waiting.receive(LONG, || Err(failure()), || Ok(true)).is_err());
    }
}
