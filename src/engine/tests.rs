//! A thread that dies ends the engine with a reason, whichever thread it is. A thread
//! that cannot be started ends nothing. No request to the engine waits for a reload.

use super::*;
use crate::config::{self, Context, Environment, FileFormat, Loaded};
use crate::dispatch::{Action, EngineState};
use crate::message::dead::SetAside;
use crate::message::park::{Parked, START, ToPark};
use crate::message::service::{Ask, Count, Facts};
use crate::message::settle::EntryResult;
use crate::message::{Item, Message, Outcome, Receipt, Received};
use crate::queue::{DeadLetters, Limits, NewMessage, QueueError, VisibilityChange};
use compact_str::CompactString;
use std::sync::atomic::{AtomicBool, Ordering};

/// A queue whose calls of one kind panic.
struct Broken {
    queue: Arc<dyn Queue>,
    call: &'static str,
}

impl Broken {
    fn queue(&self, call: &str) -> &dyn Queue {
        if call == self.call {
            // Without the panic hook, whose text would appear in the test's output.
            std::panic::resume_unwind(Box::new(()));
        }
        self.queue.as_ref()
    }
}

impl Queue for Broken {
    fn limits(&self) -> Limits {
        self.queue.limits()
    }

    fn facts(&self) -> Result<Facts, QueueError> {
        self.queue.facts()
    }

    fn receive(&self, ask: &Ask) -> Result<Vec<Received>, QueueError> {
        self.queue("receive").receive(ask)
    }

    fn interrupt(&self) {
        self.queue.interrupt();
    }

    fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue("delete").delete(receipts)
    }

    fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.change_visibility(changes)
    }

    fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        self.queue.set_aside(letters)
    }

    fn count(&self) -> Result<Count, QueueError> {
        self.queue.count()
    }

    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError> {
        self.queue.send(messages)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        self.queue.dead_letters()
    }
}

/// The settings of one queue in memory, followed by `more` lines of the file.
pub fn settings(more: &str) -> (Settings, Registry) {
    let text = format!(
        "[engine]\nhandler_threads = 20\n[queues.invoice]\nsource = 'memory'\nhandler = 'nothing'\n[partners.default]\ndeliver = 'discard'\n{more}"
    );
    let nothing = |_: &Message| Outcome::Discard;
    let mut registry = Registry::new();
    registry.register("nothing", nothing);
    let context = Context { environment: &Environment::default(), handlers: &registry };
    let Loaded { settings, handlers, .. } = config::parse(&text, FileFormat::Toml, "test", &context).unwrap();
    (settings, handlers)
}

/// An engine over that queue, with one message in it.
fn engine(broken: &'static str) -> Engine {
    let (settings, registry) = settings("");
    let mut engine = Engine::new(&settings, &registry).unwrap();
    engine.queue("invoice").unwrap().send(&[NewMessage { body: "{}".into(), ..NewMessage::default() }]).unwrap();
    let lane = &mut engine.lanes[0];
    let queue = lane.queue.take().unwrap();
    lane.queue = Some(Arc::new(Broken { queue, call: broken }));
    engine
}

#[test]
fn a_poller_or_an_acker_that_panics_ends_the_engine_with_its_name() {
    for (call, thread) in [("receive", "poll-invoice-0"), ("delete", "ack-invoice-0")] {
        let running = engine(call).start(RunOptions { until_empty: true, seed: 1 }).unwrap();
        let RunError::Died(why) = running.wait().unwrap_err();
        assert_eq!(why, Death::panicked(thread));
    }
}

#[test]
fn a_thread_beside_the_engine_that_panics_ends_it() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    assert!(remote.last_report().is_none());
    assert!(remote.status().is_some());
    let guard = remote.guard("signal");
    let thread = std::thread::Builder::new().spawn(move || {
        let _guard = guard;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(thread.unwrap().join().is_err());
    let RunError::Died(why) = running.wait().unwrap_err();
    assert_eq!(why, Death::panicked("signal"));
    assert_eq!(remote.last_report().unwrap().status.state, EngineState::Running);
}

#[test]
fn an_engine_that_died_does_no_more_although_a_handle_to_it_is_kept() {
    // The report of a death is received once: by the dispatcher, or by whoever waits for the engine.
    for _ in 0..20 {
        let running = engine("delete").start(RunOptions { until_empty: true, seed: 1 }).unwrap();
        let remote = running.remote();
        assert!(matches!(running.wait(), Err(RunError::Died(_))));
        let end = remote.asked.over.recv_timeout(Duration::from_secs(10));
        assert_eq!(end, Err(crossbeam_channel::RecvTimeoutError::Disconnected));
    }
}

#[test]
fn each_thread_says_what_it_does() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    remote.status().unwrap();
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    let threads = remote.threads(Instant::now());
    let names: Vec<&str> = threads.iter().map(|thread| &*thread.name).collect();
    for name in ["dispatch", "watchdog", "deliver-start", "handle-00", "poll-invoice-0"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(remote.health().is_well());
    remote.finish_when_empty();
    assert_eq!(running.wait().unwrap().status.queues[0].counts.acked, 1);
}

#[test]
fn an_engine_goes_on_without_the_threads_that_the_system_does_not_give() {
    let mut engine = engine("");
    (engine.rules.queues[0].pollers, engine.rules.queues[0].ackers, engine.lanes[0].limits.remote) = (4, 4, true);
    let queue = engine.queue("invoice").unwrap();
    let running = engine.start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    running.crew.give(0);
    queue.send(&vec![NewMessage { body: "{}".into(), ..NewMessage::default() }; 1000]).unwrap();
    remote.finish_when_empty();
    let report = running.wait().unwrap();
    assert_eq!(report.status.queues[0].counts.acked, 1001);
}

#[test]
fn a_queue_for_which_there_is_no_thread_is_refused_by_a_reload() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    let (settings, registry) = settings("[queues.more]\nsource = 'memory'\nhandler = 'nothing'\n");
    for given in 0..2 {
        running.crew.give(given);
        let refused = remote.reload(&settings, &registry).unwrap_err().to_string();
        assert!(refused.starts_with("queues.more: cannot start the thread "), "{refused}");
        assert_eq!(remote.queues().len(), 1);
    }
    running.crew.give(2);
    remote.reload(&settings, &registry).unwrap();
    assert_eq!(remote.queues().len(), 2);
    remote.stop();
    assert_eq!(running.wait().unwrap().status.queues.len(), 2, "nothing is left of those that were refused");
}

#[test]
fn settings_made_in_code_may_say_never_and_none() {
    let (mut settings, mut registry) = settings("");
    registry.register("nothing", |_: &Message| Outcome::deliver("acme", "1"));
    let (engine, partner) = (&mut settings.engine, &mut settings.partners.default);
    (engine.flush_interval, engine.shutdown_timeout) = (Duration::MAX, Duration::MAX);
    (partner.hold_for, partner.idle_timeout, partner.parallel) = (Duration::MAX, Duration::MAX, 0);
    (partner.min_backoff, partner.max_backoff, partner.give_up_after) = (Duration::MAX, Duration::MAX, Some(Duration::MAX));
    let queue = settings.queues.get_mut("invoice").unwrap();
    (queue.order_wait, queue.wait_time, queue.visibility_timeout) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let run = |settings: &Settings, ends: fn(&Remote)| {
        let engine = Engine::new(settings, &registry).unwrap();
        engine.queue("invoice").unwrap().send(&[NewMessage { body: "{}".into(), ..NewMessage::default() }]).unwrap();
        let running = engine.start(RunOptions { until_empty: false, seed: 1 }).unwrap();
        ends(&running.remote());
        running.wait().unwrap().status.queues.remove(0).counts
    };
    assert_eq!(run(&settings, Remote::finish_when_empty).delivered, 1);
    settings.partners.default.linger = Duration::MAX;
    let stopped = run(&settings, Remote::stop);
    assert_eq!(stopped.received, stopped.acked + stopped.returned);
    settings.partners.default.linger = Duration::ZERO;
    settings.engine.flush_interval = Duration::ZERO;
    settings.queues.get_mut("invoice").unwrap().visibility_timeout = Duration::ZERO;
    assert_eq!(run(&settings, Remote::finish_when_empty).delivered, 1);
}

#[test]
fn a_reload_brings_the_handler_that_is_registered_now() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    let (mut settings, mut registry) = settings("");
    registry.register("nothing", |_: &Message| Outcome::deliver("acme", "1"));
    remote.reload(&settings, &registry).unwrap();
    let last_reload = || remote.snapshot(Duration::ZERO).unwrap().last_reload.clone().unwrap();
    assert!(last_reload().ok);
    let queue = Arc::clone(&remote.queues()[0]);
    queue.send(&[NewMessage { body: "{}".into(), ..NewMessage::default() }]).unwrap();
    settings.queues.get_mut("invoice").unwrap().handler = "unknown".into();
    let refused = remote.reload(&settings, &registry).unwrap_err().to_string();
    assert!(refused.contains("no handler is called unknown"), "{refused}");
    assert_eq!(last_reload().reason, Some(refused));
    remote.finish_when_empty();
    let queue = running.wait().unwrap().status.queues.remove(0);
    assert!(queue.counts.delivered >= 1, "the handler of before was run");
    assert_eq!((queue.counts.acked, queue.handler.as_str()), (2, "nothing"));
}

#[test]
fn a_reload_changes_how_much_may_be_parked() {
    let folder = tempfile::tempdir().unwrap();
    let with = |most: &str| {
        let files = format!("path = '{0}/queue.db'\nparking = '{0}/parking.db'", folder.path().display());
        settings(&format!("[queues.kept]\nsource = 'sqlite'\nhandler = 'nothing'\n{files}\nparking_max_bytes = '{most}'\n"))
    };
    let (before, registry) = with("1MiB");
    let engine = Engine::new(&before, &registry).unwrap();
    let parking = engine.lanes.iter().find_map(|lane| lane.parking.clone()).unwrap();
    let item = Item { message: Arc::new(Message::new("1", "{}")), index: None, payload: vec![b'x'; 2 << 20].into() };
    let delivery = ToPark { account: "acme".into(), item, waited: Duration::ZERO, after: START, older: false };
    let park = || parking.park(std::slice::from_ref(&delivery)).unwrap().remove(0);
    let running = engine.start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    assert_eq!(park(), Parked::Full);
    running.remote().reload(&with("10MiB").0, &registry).unwrap();
    assert!(matches!(park(), Parked::At(_)));
    running.remote().stop();
    running.wait().unwrap();
}

#[test]
fn what_is_asked_while_a_reload_opens_a_store_is_answered() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slow.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (settings, registry) =
        settings(&format!("[queues.slow]\nsource = 'sqlite'\nhandler = 'nothing'\npath = '{}'\n", path.display()));
    let asked = running.remote();
    let reload = std::thread::Builder::new().spawn(move || asked.reload(&settings, &registry)).unwrap();
    while remote.reloading.try_lock().is_some() {
        std::thread::yield_now();
    }
    // If either had waited for the reload, it would have timed out by now.
    assert_eq!((remote.queues().len(), remote.status().unwrap().queues.len()), (1, 1));
    drop(other);
    reload.join().unwrap().unwrap();
    assert_eq!(remote.queues().len(), 2);
    remote.stop();
    running.wait().unwrap();
}

#[test]
fn a_reload_waits_for_the_answer_of_a_late_dispatcher_and_ends_with_the_engine() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    // What is asked of the dispatcher comes here, and reaches it when the test passes it on.
    let (control, late) = crossbeam_channel::bounded(1);
    let reload = || {
        let ((settings, registry), asked) = (
            settings("[queues.more]\nsource = 'memory'\nhandler = 'nothing'\n"),
            Remote { control: control.clone(), ..remote.clone() },
        );
        let (ended, end) = crossbeam_channel::bounded(1);
        let body = move || ended.send(asked.reload(&settings, &registry)).unwrap();
        std::thread::Builder::new().spawn(body).unwrap();
        (late.recv().unwrap(), end)
    };
    let (handed, end) = reload();
    let early = end.recv_timeout(inquiries::ANSWER_TIMEOUT * 3 / 2).map(|ended| ended.map_err(|error| error.to_string()));
    assert!(early.is_err(), "it did not wait: {early:?}");
    assert_eq!(remote.queues().len(), 1);
    remote.control.send(handed).unwrap();
    end.recv().unwrap().unwrap();
    assert_eq!(remote.queues().len(), 2);

    let (_never_handed_on, end) = reload();
    remote.stop();
    running.wait().unwrap();
    assert!(matches!(end.recv().unwrap(), Err(ReloadError::Stopping)));
}

#[test]
fn a_change_while_somebody_takes_a_snapshot_shows_in_the_next() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    let hour = Duration::from_secs(3600);
    assert!(remote.snapshot(hour).unwrap().last_reload.is_none());
    let taking = remote.asked.newest.lock();
    #[expect(clippy::disallowed_methods, reason = "the moment of the change")]
    remote.reload_ended(Instant::now(), Some("no"));
    drop(taking);
    assert!(remote.snapshot(hour).unwrap().last_reload.is_some());
    remote.stop();
    running.wait().unwrap();
}

#[test]
fn an_engine_that_has_ended_says_so() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    remote.stop();
    running.wait().unwrap();
    assert_eq!(remote.snapshot(Duration::ZERO).unwrap_err(), Silent::Ended);
    assert_eq!(remote.search(String::new()).unwrap_err(), Silent::Ended);
    assert_eq!(remote.operate("acme".into(), Action::Pause).err(), Some(Silent::Ended));
    // A request that comes just before the end stays in its channel.
    let (ask, _unread) = crossbeam_channel::bounded(1);
    assert_eq!(Remote { ask, ..remote }.partner("acme".into()).unwrap_err(), Silent::Ended);
}

#[test]
fn a_stop_does_not_wait_behind_questions_that_nobody_answers() {
    let running = engine("").start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    let ((control, told), (ask, _unread)) = (crossbeam_channel::bounded(1), crossbeam_channel::bounded(0));
    let silent = Remote { control, ask, ..remote.clone() };
    assert_eq!(silent.partner("acme".into()).unwrap_err(), Silent::Hangs);
    silent.stop();
    assert!(matches!(told.try_recv(), Ok(Control::Stop { .. })));
    remote.stop();
    running.wait().unwrap();
}

#[test]
fn the_end_of_the_engine_waits_for_what_a_handler_has_left_to_rayon() {
    let (settings, mut registry) = settings("");
    let (give, given) = crossbeam_channel::bounded::<Receiver<()>>(1);
    let is_done = Arc::new(AtomicBool::new(false));
    let does = Arc::clone(&is_done);
    registry.register("nothing", move |_: &Message| {
        let (does, given) = (Arc::clone(&does), given.clone());
        rayon::spawn(move || {
            let over = given.recv().unwrap();
            let _ = (over.recv(), given.recv_timeout(LEFT_BEHIND / 20));
            does.store(true, Ordering::SeqCst);
        });
        Outcome::Discard
    });
    let engine = Engine::new(&settings, &registry).unwrap();
    engine.queue("invoice").unwrap().send(&[NewMessage { body: "{}".into(), ..NewMessage::default() }]).unwrap();
    let running = engine.start(RunOptions { until_empty: true, seed: 1 }).unwrap();
    give.send(running.asked.over.clone()).unwrap();
    assert_eq!(running.wait().unwrap().status.queues[0].counts.discarded, 1);
    assert!(is_done.load(Ordering::SeqCst));
    drop(give);
}

#[test]
fn a_queue_that_has_become_empty_does_not_keep_the_room_for_the_time_of_a_long_poll() {
    let queue =
        |name: &str| format!("[queues.{name}]\nsource = 'memory'\nhandler = 'nothing'\nwait_time = '20s'\nconcurrency = 3\n");
    let names = ["one", "two", "three"];
    let sections = names.map(queue).concat();
    let (mut settings, registry) = settings(&sections);
    // Bodies are assumed to have 1 MiB until some were seen, so each of the queues could fill the room with its demand.
    settings.engine.max_in_flight_bytes = 64 * 1024 * 1024;
    let engine = Engine::new(&settings, &registry).unwrap();
    for name in names {
        let message = NewMessage { body: "{}".into(), ..NewMessage::default() };
        engine.queue(name).unwrap().send(&vec![message; 300]).unwrap();
    }
    let report = engine.start(RunOptions { until_empty: true, seed: 1 }).unwrap().wait().unwrap();
    let acked: Vec<u64> = report.status.queues.iter().map(|queue| queue.counts.acked).collect();
    assert_eq!(acked.iter().sum::<u64>(), 900);
    assert!(report.elapsed_s < 20.0, "a queue waited for the long poll of another: {} s", report.elapsed_s);
}

#[test]
fn messages_whose_handler_blocks_hold_up_no_others_of_a_queue_that_is_quick_otherwise() {
    let (mut settings, mut registry) =
        settings("[queues.mixed]\nsource = 'memory'\nhandler = 'nothing'\norder_wait = '50ms'\nconcurrency = 8\n");
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    registry.register("mixed", move |message: &Message| {
        if &*message.body == b"blocks" {
            // Ends once the sender is gone.
            let _ = released.recv();
        }
        Outcome::Discard
    });
    settings.queues.get_mut("mixed").unwrap().handler = "mixed".into();
    let engine = Engine::new(&settings, &registry).unwrap();
    let queue = engine.queue("mixed").unwrap();
    let send = |bodies: &[&'static str]| {
        let message = |body: &&'static str| NewMessage { body: (*body).into(), ..NewMessage::default() };
        queue.send(&bodies.iter().map(message).collect::<Vec<_>>()).unwrap();
    };
    let running = engine.start(RunOptions { until_empty: false, seed: 1 }).unwrap();
    let remote = running.remote();
    let until_acked = |messages: u64| {
        let mixed = || remote.status().unwrap().queues.into_iter().find(|queue| &*queue.name == "mixed").unwrap();
        while mixed().counts.acked < messages {
            std::thread::yield_now();
        }
        mixed()
    };
    // The engine learns that the handler is quick, and then puts many messages into one job, for as many
    // threads as there are cores.
    send(&["quick"; 300]);
    until_acked(300);
    let mut bodies = ["quick"; 300];
    for at in (0..70).step_by(10) {
        bodies[at] = "blocks";
    }
    send(&bodies);
    let state = until_acked(300 + 293);
    assert_eq!((state.handler_running, state.handler_pending), (7, 0));
    drop(release);
    remote.finish_when_empty();
    running.wait().unwrap();
}
