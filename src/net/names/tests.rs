use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

const THREADS: usize = 8;

/// A name server that answers when a test wants, and a clock that stands still in between.
struct Stage {
    names: Names,
    /// The names being looked up, each with the channel for its answer.
    asked: Receiver<(String, Sender<io::Result<Vec<IpAddr>>>)>,
    seconds: Arc<AtomicU64>,
    start: Instant,
}

impl Stage {
    fn new() -> Self {
        let start = Clocks::system().steady();
        let seconds = Arc::new(AtomicU64::new(0));
        let now = Arc::clone(&seconds);
        let clock = Clocks::with_steady(move || start + Duration::from_secs(now.load(Ordering::SeqCst)));
        let (ask, asked) = bounded(100);
        let look_up: LookUp = Arc::new(move |host| {
            let (answer, on_answer) = bounded(1);
            ask.send((host.to_owned(), answer)).map_err(io::Error::other)?;
            on_answer.recv().map_err(io::Error::other)?
        });
        Self { names: Names::new(look_up, clock, THREADS), asked, seconds, start }
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Blocks for as long as the look-up takes.
    fn find(&self, host: &str) -> Result<Arc<[IpAddr]>, LookUpError> {
        self.names.find(host, self.start + Duration::from_secs(3600))
    }

    /// Does not block.
    fn peek(&self, host: &str) -> Result<Arc<[IpAddr]>, LookUpError> {
        self.names.find(host, self.start)
    }

    /// Answers the next look-up and waits until the answer is recorded.
    fn answer(&self, host: &str, answer: io::Result<Vec<IpAddr>>) {
        let (asked, reply) = self.asked.recv().unwrap();
        assert_eq!(asked, host);
        reply.send(answer).unwrap();
        let mut names = self.names.shared.names.lock();
        while names.known.get(host).unwrap().pending {
            self.names.shared.ended.wait(&mut names);
        }
    }
}

#[test]
fn threads_that_the_system_does_not_give_are_started_with_a_later_look_up() {
    let mut stage = Stage::new();
    // How many more threads the system grants, and how many were requested.
    let (given, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (left, tries) = (Arc::clone(&given), Arc::clone(&asked));
    stage.names.crew = Crew::with_spawn(THREADS, move |name, work| {
        tries.fetch_add(1, Ordering::SeqCst);
        let given = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        given.map_err(|_| io::Error::other("no more tasks"))?;
        thread::Builder::new().name(name).spawn(work).map(drop)
    });
    for _ in 0..3 {
        let Err(error @ LookUpError::NoThread(_)) = stage.peek("a") else { panic!("it was looked up") };
        assert!(error.to_string().contains("no more tasks"), "{error}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "not before a second has passed");

    stage.pass(1);
    given.store(1, Ordering::SeqCst);
    assert!(matches!(stage.peek("a"), Err(LookUpError::Timeout)));
    stage.answer("a", Err(io::Error::other("no such name")));
    stage.pass(6);
    assert!(matches!(stage.peek("a"), Err(LookUpError::Timeout)), "the only thread takes names under suspicion too");
    stage.answer("a", Ok(vec![ip(1)]));

    stage.pass(1);
    given.store(100, Ordering::SeqCst);
    assert!(matches!(stage.peek("b"), Err(LookUpError::Timeout)));
    stage.answer("b", Ok(vec![ip(2)]));
    assert_eq!(stage.names.crew.state(), (THREADS, None));
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[test]
fn names_that_are_never_answered_do_not_hold_up_others_that_are_new() {
    let stage = Stage::new();
    let dead = (0..THREADS).map(|number| format!("dead-{number}"));
    dead.for_each(|name| assert!(matches!(stage.peek(&name), Err(LookUpError::Timeout))));
    let held_up: Vec<_> = (0..THREADS).map(|_| stage.asked.recv().unwrap()).collect();
    assert!(matches!(stage.peek("b"), Err(LookUpError::Timeout)));
    assert!(matches!(stage.peek("b"), Err(LookUpError::Timeout)));
    assert_eq!(stage.names.crew.state().0, THREADS, "none takes long yet");
    stage.pass(1);
    assert!(matches!(stage.peek("b"), Err(LookUpError::Timeout)));
    stage.answer("b", Ok(vec![ip(1)]));
    assert_eq!(stage.find("b").unwrap()[0], ip(1));
    drop(held_up);
}

#[test]
fn many_who_ask_at_once_are_one_look_up() {
    let stage = Stage::new();
    thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| stage.find("a").unwrap()[0])).collect();
        stage.answer("a", Ok(vec![ip(1)]));
        for thread in asking {
            assert_eq!(thread.join().unwrap(), ip(1));
        }
    });
    assert_eq!(stage.find("a").unwrap()[0], ip(1));
    assert!(stage.asked.is_empty());
}

/// Whoever owns a name may give it thousands, and thousands of names are remembered.
#[test]
fn no_more_addresses_of_a_name_are_kept_than_a_connection_may_try() {
    let stage = Stage::new();
    assert!(stage.peek("a").is_err());
    stage.answer("a", Ok((0..5000_u32).map(|n| IpAddr::from(n.to_be_bytes())).collect()));
    let found = stage.find("a").unwrap();
    assert!(found.len() <= 64 && found[0] == IpAddr::from([0, 0, 0, 0]), "{}", found.len());
}

#[test]
fn an_answer_of_last_resort_stands_in_before_the_time_of_the_caller_is_over() {
    let stage = Stage::new();
    assert!(matches!(stage.peek("a"), Err(LookUpError::Timeout)));
    stage.answer("a", Ok(vec![ip(1)]));
    stage.pass(601);
    let held_up = thread::scope(|scope| {
        let asking = scope.spawn(|| stage.find("a"));
        let held_up = stage.asked.recv().unwrap();
        stage.pass(1);
        assert_eq!(asking.join().unwrap().unwrap()[0], ip(1), "long before the hour that it would have had");
        held_up
    });
    assert_eq!(stage.find("a").unwrap()[0], ip(1), "nobody else waits for this look-up");
    drop(held_up);
}

#[test]
fn an_old_answer_is_served_while_a_new_one_is_fetched() {
    let stage = Stage::new();
    assert!(matches!(stage.peek("a"), Err(LookUpError::Timeout)));
    stage.answer("a", Ok(vec![ip(1)]));
    stage.pass(31);
    assert_eq!(stage.peek("a").unwrap()[0], ip(1));
    stage.answer("a", Ok(vec![ip(2)]));
    assert_eq!(stage.peek("a").unwrap()[0], ip(2));
}

#[test]
fn a_failure_is_remembered_for_a_moment_and_an_answer_outlives_it() {
    let stage = Stage::new();
    let fails = || Err(io::Error::other("no such name"));
    assert!(stage.peek("a").is_err());
    stage.answer("a", fails());
    let Err(LookUpError::Failed(reason)) = stage.find("a") else { panic!("found") };
    assert_eq!(&*reason, "no such name");
    assert!(stage.asked.is_empty());
    stage.pass(6);
    assert!(stage.peek("a").is_err());
    stage.answer("a", Ok(vec![ip(1)]));

    stage.pass(3600);
    assert_eq!(stage.peek("a").unwrap()[0], ip(1), "nothing newer is known in time");
    stage.answer("a", fails());
    assert_eq!(stage.find("a").unwrap()[0], ip(1));
    stage.pass(86_400);
    assert!(stage.peek("a").is_err(), "it is too old for anything");
}

/// Its last address may be somebody else's by then.
#[test]
fn a_name_that_no_longer_exists_leads_nowhere() {
    for gone in [Err(io::ErrorKind::NotFound.into()), Ok(Vec::new())] {
        let stage = Stage::new();
        assert!(stage.peek("a").is_err());
        stage.answer("a", Ok(vec![ip(1)]));
        stage.pass(60);
        assert_eq!(stage.peek("a").unwrap()[0], ip(1), "until it is known");
        stage.answer("a", gone);
        assert!(matches!(stage.find("a"), Err(LookUpError::Failed(_))));
        stage.pass(6);
        assert!(stage.peek("a").is_err());
        stage.answer("a", Ok(vec![ip(2)]));
        assert_eq!(stage.find("a").unwrap()[0], ip(2));
    }
}

#[test]
fn the_system_tells_a_name_that_does_not_exist_from_a_failure() {
    // RFC 6761 guarantees that the name never exists. Without a name server that cannot be known.
    let error = Names::system()("no-such-name.invalid").unwrap_err();
    assert!(error.kind() == io::ErrorKind::NotFound || error.to_string().contains("Temporary failure"), "{error:?}");
    // No name: the resolver need not ask anybody.
    assert_eq!(Names::system()("a..b").unwrap_err().kind(), io::ErrorKind::NotFound);
    // What musl says of a name without an address.
    let bare = io::Error::other("failed to lookup address information: Name has no usable address");
    assert_eq!(with_absence(bare).kind(), io::ErrorKind::NotFound);
    assert_ne!(with_absence(io::Error::from_raw_os_error(2)).kind(), io::ErrorKind::NotFound, "a file that is missing");
}

#[test]
fn a_resolver_that_panics_is_a_failure_like_any_other() {
    let clock = Clocks::system();
    let names = Names::new(Arc::new(|_| std::panic::resume_unwind(Box::new(()))), clock.clone(), THREADS);
    for host in (0..2 * THREADS).map(|host| host.to_string()) {
        let Err(LookUpError::Failed(reason)) = names.find(&host, clock.steady() + Duration::from_secs(60)) else {
            panic!("{host} was found")
        };
        assert_eq!(&*reason, "the look-up panicked");
    }
}

#[test]
fn names_under_suspicion_leave_threads_for_the_others() {
    let stage = Stage::new();
    let hosts: Vec<String> = (0..THREADS * 2).map(|host| format!("dead-{host}")).collect();
    for host in &hosts {
        assert!(stage.peek(host).is_err());
        let (_, reply) = stage.asked.recv().unwrap();
        reply.send(Ok(Vec::new())).unwrap();
        let mut names = stage.names.shared.names.lock();
        while names.known.get(host.as_str()).unwrap().pending {
            stage.names.shared.ended.wait(&mut names);
        }
    }
    stage.pass(6);
    for host in &hosts {
        assert!(stage.peek(host).is_err());
    }
    let held: Vec<_> = (0..THREADS / 2).map(|_| stage.asked.recv().unwrap()).collect();
    assert!(held.iter().all(|(host, _)| host.starts_with("dead")));
    assert!(stage.peek("well").is_err());
    stage.answer("well", Ok(vec![ip(1)]));
    assert_eq!(stage.find("well").unwrap()[0], ip(1));
}
