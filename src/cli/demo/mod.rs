//! The command `demo`: the main job with everything real except the customers. It runs two embedded queues, the real
//! engine and real HTTP to simulated partners, and ends with books that must balance.

mod books;
mod partners;
mod traffic;

use std::fs;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, bounded, select};
use indicatif::{MultiProgress, ProgressBar};
use octoconf::admin::Admin;
use octoconf::config::{self, Context, Environment, FileFormat, Loaded};
use octoconf::dispatch::Status;
use octoconf::engine::{Engine, Remote, Report, RunOptions};
use octoconf::handler::Registry;
use octoconf::queue::{DeadFilter, NewMessage, Queue};
use octoconf::settings::AdminSettings;
use serde_json::json;

use self::books::{Books, Reconciliation};
use self::partners::Partners;
use self::traffic::{DemoQueue, Traffic};
use super::args::Demo;
use super::failure::Failure;
use super::{logger, output, progress, signals};

/// The number of messages per call to a queue, and the interval at which each of the two producers makes a call: about
/// 6,000 messages a second together.
const MESSAGES_A_CALL: usize = 100;
const CALL_INTERVAL: Duration = Duration::from_millis(33);

/// The time after which an unfinished demo is stopped and fails.
const MAX_DURATION: Duration = Duration::from_secs(300);

/// Runs the demo. Fails if messages are lost or the time is over.
pub fn run(options: &Demo) -> Result<ExitCode, Failure> {
    let bars = MultiProgress::new();
    let _log = logger::start("error", &bars).context("cannot start the thread log")?;
    let folder = tempfile::Builder::new().prefix("octoconf-demo-").tempdir().context("cannot make a folder for the queues")?;
    // A second signal ends the demo as it would any program, but the folder is removed first.
    let path = folder.path().to_owned();
    let stop = signals::stops_or(move || _ = fs::remove_dir_all(path)).context("cannot take signals over")?;
    let books = Arc::new(Books::default());
    let partners = Partners::start(Arc::clone(&books))?;
    let engine = engine(&folder.path().join("demo.db").display().to_string(), &partners)?;
    let mut queues = Vec::new();
    for kind in DemoQueue::ALL {
        queues.push((kind, engine.queue(kind.queue()).context("the demo's own queue is missing")?));
    }
    let running = engine.start(RunOptions { until_empty: false, seed: options.seed })?;
    let remote = running.remote();
    let admin = dashboard(&remote)?;
    if !options.json {
        output::remark(&format!("dashboard: http://{}/\n", admin.address()), output::PATIENCE);
    }

    let (at_work, end) = bounded::<()>(0);
    let ended_early = Arc::new(AtomicBool::new(false));
    let watch = {
        let (remote, books, messages) = (remote.clone(), Arc::clone(&books), options.messages);
        let ended_early = Arc::clone(&ended_early);
        let bar = bars.add(ProgressBar::new(messages).with_style(progress::towards("messages delivered")));
        thread::Builder::new()
            .name("watch".into())
            .spawn(move || watch(&Watched { remote, books, bar, end, stop, ended_early }, MAX_DURATION))
    };
    let watch = watch.context("cannot start the thread watch")?;
    thread::scope(|scope| {
        for (kind, queue) in &queues {
            let half = options.messages / 2 + if *kind == DemoQueue::Stock { options.messages % 2 } else { 0 };
            let traffic = Traffic::new(*kind, options.accounts, options.seed);
            let (books, ended_early) = (&books, &ended_early);
            let producer = thread::Builder::new().name(format!("send-{}", kind.queue()));
            producer.spawn_scoped(scope, move || produce(queue.as_ref(), *kind, traffic, half, (books, ended_early)))?;
        }
        anyhow::Ok(())
    })?;
    remote.finish_when_empty();
    let report = running.wait();
    drop(at_work);
    let outcome = watch.join().unwrap_or(Outcome::Late);
    let report = report?;
    let mut left = 0;
    for (kind, queue) in &queues {
        books.dead(*kind, dead(queue.as_ref())?.into_iter());
        let count = queue.count()?;
        let here = count.visible + count.hidden + count.delayed;
        if outcome == Outcome::Interrupted {
            books.left(*kind, here);
        }
        left += here;
    }
    conclude(&books, &report, (outcome, left), options.json)
}

/// Starts the dashboard on the port that an instance usually has, or on any free port.
fn dashboard(remote: &Remote) -> anyhow::Result<Admin> {
    let at = |listen: &str| Admin::start(&AdminSettings { listen: listen.to_owned(), token: None });
    let admin = at("127.0.0.1:9464").or_else(|_| at("127.0.0.1:0"))?.context("the dashboard is turned off")?;
    admin.shows(remote.clone());
    Ok(admin)
}

/// Creates the engine from a configuration, as a user would.
fn engine(path: &str, partners: &Partners) -> anyhow::Result<Engine> {
    let text = format!(
        r#"
        [admin]
        listen = ""
        [engine]
        delivery_threads = 512
        [queues.stock]
        source = "sqlite"
        path = {path:?}
        handler = "product"
        [queues.invoice]
        source = "sqlite"
        path = {path:?}
        handler = "order"
        [partners.default]
        deliver = "http"
        url = "http://{}/{{account}}/{{queue}}"
        timeout = "5s"
        min_backoff = "250ms"
        max_backoff = "2s"
        "#,
        partners.address
    );
    let context = Context { environment: &Environment::default(), handlers: &Registry::new() };
    let Loaded { settings, handlers, .. } = config::parse(&text, FileFormat::Toml, "demo", &context)?;
    Ok(Engine::new(&settings, &handlers)?)
}

/// Sends messages at a steady pace, as shops do.
#[expect(clippy::disallowed_methods, reason = "the books want the moment in which a message was sent")]
fn produce(queue: &dyn Queue, kind: DemoQueue, mut traffic: Traffic, messages: u64, (books, ended_early): (&Books, &AtomicBool)) {
    let pace = crossbeam_channel::tick(CALL_INTERVAL);
    let mut left = messages;
    while left > 0 && !ended_early.load(Ordering::Relaxed) {
        let call = left.min(MESSAGES_A_CALL as u64);
        let messages: Vec<NewMessage> =
            (0..call).map(|_| NewMessage { body: traffic.next_body(), ..NewMessage::default() }).collect();
        let before = Instant::now();
        match queue.send(&messages) {
            Ok(ids) => {
                books.sent(kind, ids.iter().map(|id| id.as_str()), before);
                left -= call;
            }
            Err(error) => log::error!("cannot send, trying again: {error}"),
        }
        // The ticker belongs to this thread, so it cannot be disconnected.
        let _ = pace.recv();
    }
}

/// How the demo ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    InTime,
    Late,
    /// A signal ended it.
    Interrupted,
}

/// What the watching thread looks at.
struct Watched {
    remote: Remote,
    books: Arc<Books>,
    bar: ProgressBar,
    /// Disconnected once the engine has ended.
    end: Receiver<()>,
    /// Receives an item on a signal.
    stop: Receiver<()>,
    /// Tells the producers to end.
    ended_early: Arc<AtomicBool>,
}

/// Shows the progress until the end, and stops a demo that takes too long or that a signal interrupts.
fn watch(Watched { remote, books, bar, end, stop, ended_early }: &Watched, at_most: Duration) -> Outcome {
    let terminal = io::stderr().is_terminal();
    let glance = if terminal { Duration::from_millis(100) } else { Duration::from_secs(2) };
    let too_late = crossbeam_channel::after(at_most);
    let mut outcome = Outcome::InTime;
    while outcome == Outcome::InTime {
        select! {
            recv(end) -> _ => break,
            recv(stop) -> _ => outcome = Outcome::Interrupted,
            recv(too_late) -> _ => outcome = Outcome::Late,
            default(glance) => match remote.status() {
                Some(status) => show(&status, books.so_far(), bar, terminal),
                None => break,
            },
        }
    }
    if outcome != Outcome::InTime {
        ended_early.store(true, Ordering::Relaxed);
        remote.stop();
    }
    bar.finish_and_clear();
    outcome
}

fn show(status: &Status, (sent, accepted): (u64, u64), bar: &ProgressBar, terminal: bool) {
    let partners = &status.partners;
    let troubled = partners.backing_off + partners.open + partners.limited;
    if terminal {
        bar.set_position(accepted);
        bar.set_message(format!("{sent} sent, {} held, {troubled} partners in trouble", status.in_flight));
    } else {
        let line = format!("sent {sent}, delivered {accepted}, held {}, partners in trouble {troubled}\n", status.in_flight);
        output::remark(&line, Duration::ZERO);
    }
}

fn dead(queue: &dyn Queue) -> anyhow::Result<Vec<String>> {
    let letters = queue.dead_letters().context("an embedded queue keeps its dead letters")?;
    let mut ids = Vec::new();
    letters.list(&DeadFilter::default(), &mut |letter| {
        ids.push(letter.message_id.to_string());
        true
    })?;
    Ok(ids)
}

/// Prints how the books ended; `left` is the number of messages that are still on the queues, and so not lost. Lost
/// messages are a failure.
fn conclude(books: &Books, report: &Report, (outcome, left): (Outcome, u64), as_json: bool) -> Result<ExitCode, Failure> {
    let (in_time, interrupted) = (outcome != Outcome::Late, outcome == Outcome::Interrupted);
    let found: Vec<Reconciliation> = DemoQueue::ALL.into_iter().map(|kind| books.reconcile(kind)).collect();
    let (median, p99) = books.latency().unwrap_or_default();
    let partners = report.status.partners.total;
    let text = if as_json {
        let queues: Vec<_> = found.iter().map(Reconciliation::json).collect();
        let latency = json!({ "median_ms": median.as_secs_f64() * 1e3, "p99_ms": p99.as_secs_f64() * 1e3 });
        let Reconciliation { sent, delivered, dead, lost, duplicated, .. } = Reconciliation::total(&found);
        let all = json!({ "sent": sent, "delivered": delivered, "dead": dead, "lost": lost, "duplicated": duplicated, "queues": queues, "partners": partners, "elapsed_s": report.elapsed_s, "healthy_latency": latency, "in_time": in_time, "interrupted": interrupted, "left": left });
        format!("{all:#}\n")
    } else {
        let mut table =
            format!("{:8} {:>9} {:>9} {:>7} {:>6} {:>10}\n", "queue", "sent", "delivered", "dead", "lost", "duplicated");
        for Reconciliation { queue, sent, delivered, dead, lost, duplicated } in &found {
            table += &format!("{queue:8} {sent:>9} {delivered:>9} {dead:>7} {lost:>6} {duplicated:>10}\n");
        }
        let (median, p99) = (median.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
        let elapsed_s = report.elapsed_s;
        table
            + &format!(
                "{partners} partners in {elapsed_s:.1} s; healthy ones waited {median:.0} ms (median), {p99:.0} ms (p99)\n"
            )
    };
    output::tell(&text, || "the demo is over".to_owned())?;
    let lost = Reconciliation::total(&found).lost;
    if interrupted {
        return Err(anyhow::anyhow!("interrupted: {left} messages were still on the queues").into());
    }
    if !in_time || lost > 0 {
        return Err(Failure::Failed(anyhow::anyhow!("{lost} messages are lost, or were not delivered within {MAX_DURATION:?}")));
    }
    Ok(ExitCode::SUCCESS)
}
