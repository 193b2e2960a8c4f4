//! From the embedded queue to one file per partner, with everything synced.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use octoconf::message::service::Ask;
use tempfile::TempDir;

use crate::extent::runs;
use crate::table::{Aim, Figure, Table};
use crate::{RUNS, data, run};

pub fn sqlite_to_file(table: &mut Table) {
    let pairs: Vec<_> = (0..runs(RUNS)).map(|_| (engine(), queue_alone())).collect();
    let row = "sqlite -> order -> file, 2,900 files, every delivery synced";
    table.add(Figure::pairs(row, "messages/s", &pairs, "one thread that receives and deletes").value_aim(Aim::AtLeast(60_000.0)));
}

/// The partners' files exist from the first run on, as they do in production on every day but the first. Deleting
/// thousands of files between runs would measure how the file system finds inode numbers for new ones.
fn settings(folder: &TempDir) -> String {
    static OUT: OnceLock<TempDir> = OnceLock::new();
    let out = OUT.get_or_init(|| tempfile::tempdir_in("target").expect("a folder for the partners' files"));
    format!(
        "[queues.invoice]\nsource = \"sqlite\"\npath = {:?}\nhandler = \"order\"\n[partners.default]\ndeliver = \"file\"\npath = {:?}\n",
        folder.path().join("queue.db").display().to_string(),
        out.path().join("{queue}/{account}.jsonl").display().to_string(),
    )
}

fn filled() -> (TempDir, String) {
    let folder = tempfile::tempdir_in("target").expect("a folder to work in");
    let settings = settings(&folder);
    run::fill(&run::engine(&settings), &data::bodies());
    (folder, settings)
}

fn engine() -> f64 {
    let (_folder, settings) = filled();
    run::until_empty(run::engine(&settings)).per_second()
}

/// The same messages through the same file, with nothing between receive and delete.
fn queue_alone() -> f64 {
    let (_folder, settings) = filled();
    let queue = run::engine(&settings).queue("invoice").expect("it is configured");
    let ask = Ask { max: queue.limits().receive, lease: Duration::from_secs(60), wait: Duration::ZERO, bytes: usize::MAX };
    let (start, mut messages) = (Instant::now(), 0);
    loop {
        let received = queue.receive(&ask).expect("the file can be read");
        if received.is_empty() {
            return messages as f64 / start.elapsed().as_secs_f64();
        }
        messages += received.len();
        let receipts: Vec<_> = received.into_iter().map(|received| received.receipt).collect();
        for receipts in receipts.chunks(queue.limits().entries) {
            queue.delete(receipts).expect("the file can be written");
        }
    }
}
