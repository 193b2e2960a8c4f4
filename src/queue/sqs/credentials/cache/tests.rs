use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::*;
use crate::queue::sqs::credentials::testing::{keys, now};

type Answer = Result<Keys, CredentialsError>;

/// A source that reports when it is asked, and answers what the test sends.
struct Scripted {
    asked: Sender<()>,
    answers: Receiver<Answer>,
}

impl Credentials for Scripted {
    fn get(&self) -> Answer {
        self.asked.send(()).unwrap();
        self.answers.recv().expect("the source panics")
    }

    fn origin(&self) -> String {
        "the test".to_owned()
    }
}

struct Rig {
    cached: Cached<Scripted>,
    asked: Receiver<()>,
    answers: Sender<Answer>,
    seconds: Arc<AtomicU64>,
}

fn rig() -> Rig {
    let (asked_sender, asked) = unbounded();
    let (answers, answers_receiver) = unbounded();
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        move || now() + Duration::from_secs(seconds.load(Ordering::SeqCst))
    };
    let source = Scripted { asked: asked_sender, answers: answers_receiver };
    Rig { cached: Cached::new(source, Arc::new(clock)), asked, answers, seconds }
}

impl<S> Cached<S> {
    /// Waits until no thread asks the source.
    fn settle(&self) {
        let mut state = self.shared.state.lock();
        while state.asking {
            self.shared.done.wait(&mut state);
        }
    }
}

impl Rig {
    fn at(&self, seconds: u64) -> Answer {
        self.seconds.store(seconds, Ordering::SeqCst);
        self.cached.get()
    }

    /// Returns the keys once those are renewed that are due.
    fn after(&self, seconds: u64) -> Answer {
        let _ = self.at(seconds);
        self.cached.settle();
        self.cached.get()
    }

    /// Returns how often the source was asked since the last call.
    fn asked(&self) -> usize {
        self.asked.try_iter().count()
    }
}

fn down() -> CredentialsError {
    CredentialsError::unreachable("test", "down")
}

const HOUR: u64 = 3600;

#[test]
fn keys_are_kept_until_minutes_before_their_end() {
    let rig = rig();
    rig.answers.send(Ok(keys("one", Some(HOUR)))).unwrap();
    for at in [0, 1, HOUR - 301] {
        assert_eq!(rig.at(at).unwrap().access_key_id, "one");
    }
    assert_eq!(rig.asked(), 1);
    rig.answers.send(Ok(keys("two", Some(2 * HOUR)))).unwrap();
    assert_eq!(rig.after(HOUR - 300).unwrap().access_key_id, "two");
    assert_eq!(rig.asked(), 1);
}

#[test]
fn short_lived_keys_are_used_for_half_of_their_time() {
    let rig = rig();
    rig.answers.send(Ok(keys("one", Some(60)))).unwrap();
    for at in [0, 29] {
        assert_eq!(rig.at(at).unwrap().access_key_id, "one");
    }
    rig.answers.send(Ok(keys("two", Some(31)))).unwrap();
    // Renewing twice within a second is too often.
    for at in [30, 30] {
        assert_eq!(rig.after(at).unwrap().access_key_id, "two");
    }
    assert_eq!(rig.asked(), 2);
}

#[test]
fn keys_without_an_end_are_looked_at_again() {
    let rig = rig();
    rig.answers.send(Ok(keys("one", None))).unwrap();
    for at in [0, 899] {
        assert_eq!(rig.at(at).unwrap().access_key_id, "one");
    }
    rig.answers.send(Ok(keys("two", None))).unwrap();
    assert_eq!(rig.after(900).unwrap().access_key_id, "two");
}

#[test]
fn nobody_waits_for_a_renewal_while_the_keys_are_valid() {
    let rig = rig();
    rig.answers.send(Ok(keys("one", Some(HOUR)))).unwrap();
    rig.at(0).unwrap();
    rig.seconds.store(HOUR - 10, Ordering::SeqCst);
    let (got, gets) = bounded(3);
    thread::scope(|scope| {
        let rig = &rig;
        scope.spawn(move || (0..3).for_each(|_| got.send(rig.cached.get().unwrap().access_key_id).unwrap()));
        let first = gets.recv_timeout(Duration::from_secs(10));
        // The source answers only now.
        rig.answers.send(Ok(keys("two", Some(2 * HOUR)))).unwrap();
        assert_eq!(first.as_deref(), Ok("one"));
    });
    rig.cached.settle();
    assert_eq!((rig.cached.get().unwrap().access_key_id.as_str(), rig.asked()), ("two", 2));
}

#[test]
fn keys_that_end_while_they_are_renewed_are_waited_for() {
    let rig = rig();
    rig.answers.send(Ok(keys("one", Some(HOUR)))).unwrap();
    rig.at(0).unwrap();
    assert_eq!(rig.at(HOUR - 10).unwrap().access_key_id, "one");
    rig.seconds.store(HOUR, Ordering::SeqCst);
    thread::scope(|scope| {
        let waits = scope.spawn(|| rig.cached.get().unwrap().access_key_id);
        rig.answers.send(Ok(keys("two", Some(2 * HOUR)))).unwrap();
        assert_eq!(waits.join().unwrap(), "two");
    });
    assert_eq!(rig.asked(), 2);
}

#[test]
fn a_caller_renews_where_the_system_refuses_a_thread() {
    let Rig { cached, asked, answers, seconds } = rig();
    let cached = Cached { spawn: |_| Err(io::ErrorKind::WouldBlock.into()), ..cached };
    let rig = Rig { cached, asked, answers, seconds };
    for answer in [Ok(keys("one", Some(HOUR))), Err(down()), Ok(keys("two", Some(2 * HOUR)))] {
        rig.answers.send(answer).unwrap();
    }
    for (at, name) in [(0, "one"), (HOUR - 10, "one"), (HOUR - 9, "two")] {
        assert_eq!(rig.at(at).unwrap().access_key_id, name);
    }
}

#[test]
fn without_good_keys_all_wait_for_the_one_that_asks() {
    let rig = rig();
    thread::scope(|scope| {
        let first = scope.spawn(|| rig.cached.get().unwrap().access_key_id);
        rig.asked.recv().unwrap();
        let (started, starts) = bounded(8);
        let others: Vec<_> = (0..8)
            .map(|_| {
                let (started, rig) = (started.clone(), &rig);
                scope.spawn(move || {
                    started.send(()).unwrap();
                    rig.cached.get().unwrap().access_key_id
                })
            })
            .collect();
        starts.iter().take(8).for_each(drop);
        rig.answers.send(Ok(keys("one", Some(HOUR)))).unwrap();
        for thread in others.into_iter().chain([first]) {
            assert_eq!(thread.join().unwrap(), "one");
        }
    });
    assert_eq!(rig.asked(), 0);
}

#[test]
fn an_error_is_forgotten_after_a_second() {
    let rig = rig();
    rig.answers.send(Err(down())).unwrap();
    for _ in 0..3 {
        assert_eq!(rig.at(0), Err(down()));
    }
    assert_eq!(rig.asked(), 1, "not again within the second");
    rig.answers.send(Ok(keys("one", Some(HOUR)))).unwrap();
    assert_eq!(rig.at(1).unwrap().access_key_id, "one");
}

#[test]
fn a_failed_renewal_leaves_the_old_keys_until_their_end() {
    let rig = rig();
    rig.answers.send(Ok(keys("one", Some(HOUR)))).unwrap();
    rig.at(0).unwrap();
    for at in [HOUR - 300, HOUR - 299, HOUR - 1] {
        rig.answers.send(Err(down())).unwrap();
        for _ in 0..3 {
            assert_eq!(rig.after(at).unwrap().access_key_id, "one");
        }
    }
    assert_eq!(rig.asked(), 4, "once at the start, once at each of the seconds");
    rig.answers.send(Err(down())).unwrap();
    assert_eq!(rig.at(HOUR), Err(down()));
}

#[test]
fn keys_that_are_over_are_an_error() {
    let rig = rig();
    rig.answers.send(Ok(keys("old", Some(0)))).unwrap();
    let error = rig.at(0).unwrap_err();
    assert_eq!(error, CredentialsError::Expired { from: "their source".into(), at: now() });
    assert!(error.to_string().contains("2026-01-01T00:00:00Z"), "{error}");
    rig.answers.send(Ok(keys("new", Some(HOUR)))).unwrap();
    assert_eq!(rig.at(1).unwrap().access_key_id, "new");
}

#[test]
fn a_clock_set_back_renews_keys_and_delays_nothing() {
    let rig = rig();
    rig.answers.send(Ok(keys("one", Some(2 * HOUR)))).unwrap();
    rig.at(HOUR).unwrap();
    rig.answers.send(Err(down())).unwrap();
    assert_eq!(rig.after(100).unwrap().access_key_id, "one");
    rig.answers.send(Ok(keys("two", Some(HOUR)))).unwrap();
    assert_eq!(rig.after(50).unwrap().access_key_id, "two");
}

#[test]
fn keys_that_the_service_refuses_are_fetched_again_once_a_second() {
    let rig = rig();
    for answer in [Ok(keys("old", None)), Ok(keys("old", None)), Err(down()), Ok(keys("new", None))] {
        rig.answers.send(answer).unwrap();
    }
    let old = rig.at(0).unwrap();
    for at in [0, 1, 1] {
        assert_eq!(rig.at(at).unwrap(), old);
        rig.cached.refused(&old);
    }
    assert_eq!((rig.at(1).unwrap(), rig.asked()), (old.clone(), 2), "it came in this second");
    rig.cached.refused(&old);
    assert_eq!((rig.at(2), rig.asked()), (Ok(old.clone()), 0), "whoever was refused says so");
    rig.cached.refused(&old);
    assert_eq!(rig.at(2), Err(down()));
    assert_eq!(rig.at(3).unwrap().access_key_id, "new");
    rig.seconds.store(10, Ordering::SeqCst);
    rig.cached.refused(&old);
    assert_eq!((rig.at(10).unwrap().access_key_id.as_str(), rig.asked()), ("new", 2), "others took their place before");
}

#[test]
fn a_look_at_the_source_in_between_costs_no_keys_that_are_good() {
    let rig = rig();
    for answer in [Ok(keys("old", None)), Err(down()), Ok(keys("new", None))] {
        rig.answers.send(answer).unwrap();
    }
    rig.at(0).unwrap();
    rig.cached.look_again();
    assert_eq!(rig.after(5).unwrap().access_key_id, "old");
    assert_eq!(rig.after(6).unwrap().access_key_id, "new");
    assert_eq!((rig.at(7).unwrap().access_key_id.as_str(), rig.asked()), ("new", 3));
}

#[test]
fn a_look_during_a_renewal_is_another_one() {
    let rig = rig();
    rig.answers.send(Ok(keys("old", Some(HOUR)))).unwrap();
    rig.at(0).unwrap();
    rig.at(HOUR - 300).unwrap();
    // The source has read what it will answer, before it is given other keys.
    assert_eq!((rig.asked.recv(), rig.asked.recv()), (Ok(()), Ok(())));
    rig.cached.look_again();
    rig.answers.send(Ok(keys("old", Some(2 * HOUR)))).unwrap();
    rig.cached.settle();
    rig.answers.send(Ok(keys("new", Some(2 * HOUR)))).unwrap();
    assert_eq!(rig.after(HOUR - 299).unwrap().access_key_id, "new");
}

#[test]
fn a_panic_at_the_source_is_no_lock_for_ever() {
    /// Panics at the first call and at the third.
    #[derive(Default)]
    struct Panics(AtomicUsize);
    impl Credentials for Panics {
        fn get(&self) -> Answer {
            if self.0.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                // Without the panic hook, whose text would appear in the test's output.
                std::panic::resume_unwind(Box::new(()));
            }
            Ok(keys("one", Some(60)))
        }

        fn origin(&self) -> String {
            "the test".to_owned()
        }
    }
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = {
        let seconds = Arc::clone(&seconds);
        move || now() + Duration::from_secs(seconds.load(Ordering::SeqCst))
    };
    let cached = Cached::new(Panics::default(), Arc::new(clock));
    assert!(catch_unwind(AssertUnwindSafe(|| cached.get())).is_err());
    for at in [0, 30, 30] {
        seconds.store(at, Ordering::SeqCst);
        assert_eq!(cached.get().unwrap().access_key_id, "one");
        cached.settle();
    }
    assert_eq!(cached.shared.source.0.load(Ordering::SeqCst), 3, "not again within the second");
}
