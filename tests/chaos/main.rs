//! Chaos: the program against a real queue service while everything around it fails and the program itself is
//! killed. Called by `scripts/chaos`.
//!
//! Numbered messages go to standard and FIFO queues. Partners on loopback refuse, hang and cut connections; a proxy
//! does the same to the requests to SQS; the program is killed, stopped and started; the server is frozen. In the end
//! all faults stop, `run --until-empty` must finish, and the books must balance: every message was delivered or is a
//! dead letter, in order within its group, and whatever was delivered twice was in flight when the program ended. The
//! same seed draws the same faults again, as far as the threads run in the same order.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test with a main of its own: clippy does not see that it is one"
)]

mod books;
mod partner;
mod source;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use books::{Books, Closing};
use clap::{Parser, ValueEnum};
use crossbeam_channel::{after, bounded};
use partner::Partners;
use source::Source;
use source::sqlite::Sqlite;
use source::sqs::Sqs;
use storm::{Scene, Storm, Strokes};
use support::program::Workspace;
use support::sqs_server::{SqsServer, aws_environment};

/// Two standard queues and two with groups.
const FIFO: [bool; 4] = [false, true, false, true];

/// The maximum number of messages on a queue. Real SQS does not need such a limit, but the tests'
/// server becomes slower with depth.
const DEEPEST: u64 = 150;
/// More than twice what all queues hold. If the room were short, messages would be returned, hidden for longer each
/// time, and a program that was killed no longer knows which of them to make visible again. That would take longer than
/// the last run; the simulation covers it instead.
const ROOM: u64 = 4 * FIFO.len() as u64 * DEEPEST;
/// The pause between two batches of messages.
const PAUSE: Duration = Duration::from_millis(50);
/// The maximum duration of the last run, which has no faults.
const LAST_RUN: &str = "3m";

/// Run the program while everything around it fails; exit status 1 if a message is lost
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds for which the faults go on
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Seed of the faults; the same seed draws the same faults again (default: a new one)
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, value_enum, default_value_t = Kind::Sqs)]
    source: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A real server that speaks SQS, behind a proxy that causes faults
    Sqs,
    /// The embedded queue: only the partners fail, and the program is killed
    Sqlite,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let (seconds, kind) = (arguments.seconds, arguments.source);
    println!("chaos: --seconds {seconds} --seed {seed} --source {}", kind.to_possible_value().expect("it is listed").get_name());
    let mut random = fastrand::Rng::with_seed(seed);

    let books = Arc::new(Books::new(&FIFO));
    let partners = Partners::start(books.clone(), random.u64(..));
    let server = (kind == Kind::Sqs).then(SqsServer::start);
    let workspace = Workspace::new("octoconf.toml", "").with_environment(&aws_environment());
    let source: Box<dyn Source + '_> = match &server {
        Some(server) => Box::new(Sqs::new(server, &FIFO, random.u64(..))),
        None => Box::new(Sqlite::open(&workspace.path(""), &FIFO)),
    };
    workspace.write("octoconf.toml", &configuration(source.as_ref(), &partners));

    let scene = Scene { workspace: &workspace, source: source.as_ref(), partners: &partners, books: &books, queues: FIFO.len() };
    let outcome = rage(scene, random, Duration::from_secs(seconds)).and_then(|strokes| finish(&workspace).map(|()| strokes));
    println!("partners    {:?}", partners.fared());
    if let Some(figures) = source.figures() {
        println!("proxy       {figures}");
    }
    let failures = match outcome {
        Err(failure) => vec![failure],
        Ok(strokes) => {
            let letters: Vec<_> = (0..FIFO.len()).flat_map(|queue| source.dead(queue)).collect();
            judge(&books.close(&letters), &strokes, leases_lost(&workspace))
        }
    };
    drop(source);
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    println!("the log and the report are in {}; again with: scripts/chaos --seed {seed}", workspace.keep().display());
    ExitCode::FAILURE
}

fn configuration(source: &dyn Source, partners: &Partners) -> String {
    let queue = |queue| {
        let place = source.configuration(queue);
        format!("[queues.{queue}]\n{place}handler = \"order\"\nwait_time = \"2s\"\nvisibility_timeout = \"10s\"\n")
    };
    let queues: String = (0..FIFO.len()).map(queue).collect();
    format!(
        "[admin]\nlisten = \"\"\n[engine]\nmax_in_flight = {ROOM}\nshutdown_timeout = \"5s\"\n{queues}\
         [partners.default]\ndeliver = \"http\"\nurl = \"{}\"\ntimeout = \"3s\"\nmax_batch = 7\nmin_backoff = \"100ms\"\nmax_backoff = \"2s\"\n",
        partners.url()
    )
}

/// Sends messages and lets the storm rage for this long, then ends all faults.
fn rage(scene: Scene<'_>, mut random: fastrand::Rng, time: Duration) -> Result<Strokes, String> {
    let Scene { books, source, partners, .. } = scene;
    let mut storm = Storm::new(scene, random.fork());
    let (at_work, end) = bounded::<()>(0);
    let outcome = thread::scope(|scope| {
        let sender = thread::Builder::new().name("sender".into()).spawn_scoped(scope, move || {
            while end.recv_timeout(PAUSE).is_err_and(|error| error.is_timeout()) {
                let queue = random.usize(..FIFO.len());
                if source.remaining(queue) < DEEPEST {
                    books.send(queue, random.usize(1..=20), |numbers| source.send(queue, numbers));
                }
            }
        });
        sender.expect("a thread for the sender");
        let outcome = storm.rage(&after(time));
        drop(at_work);
        outcome
    });
    source.disturb(0.0);
    partners.disturb(0.0);
    outcome
}

/// Checks that without faults the program empties the queues.
fn finish(workspace: &Workspace) -> Result<(), String> {
    let last = workspace.start(&["run", "--until-empty", "--for", LAST_RUN, "--report", "report.json"]);
    match last.end() {
        Some(0) => Ok(()),
        status => Err(format!("the last run, without faults, did not empty the queues: it ended with {status:?}")),
    }
}

/// Returns the number of leases that the log reports as lost. Each is a copy that another process received while this
/// one may have had it on the wire.
fn leases_lost(workspace: &Workspace) -> usize {
    workspace.log().lines().filter(|line| line.contains("a lease was lost")).count()
}

/// Prints the figures, and returns what is wrong with them.
fn judge(closing: &Closing, strokes: &Strokes, leases_lost: usize) -> Vec<String> {
    let may_repeat = strokes.unsettled + leases_lost;
    println!("program     {} kills, {} stops; queue service frozen {} times", strokes.kills, strokes.stops, strokes.freezes);
    println!("sent        {}", closing.sent);
    println!(
        "delivered   {}, {} more than once (in flight at an end: {}, leases lost: {leases_lost})",
        closing.delivered, closing.delivered_again, strokes.unsettled
    );
    println!(
        "dead        {}, {} of them without fault of their own; {} more than once",
        closing.dead,
        closing.dead_without_fault.len(),
        closing.dead_again
    );
    println!("lost        {}", closing.missing.len());
    let list = |what: &str, numbers: &[traffic::Number]| {
        let names: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| format!("{what}: {}", names.join(" ")))
    };
    let overtaken = (!closing.disorder.is_empty()).then(|| format!("out of order: {}", closing.disorder.join("; ")));
    let repeated = (closing.delivered_again > may_repeat)
        .then(|| format!("{} deliveries came again, and only {may_repeat} could", closing.delivered_again));
    let nothing = (closing.delivered == 0).then(|| "nothing was delivered: the run shows nothing".to_owned());
    let mistaken = list("accepted although partners refuse them", &closing.accepted_by_mistake);
    [list("lost", &closing.missing), overtaken, repeated, nothing, mistaken].into_iter().flatten().collect()
}
