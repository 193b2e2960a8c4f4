//! More delivery threads: partners take 200 ms to answer, so the number of threads is what
//! matters, up to the default number.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::memory::Preload;
use crate::extent::{runs, time};
use crate::server::Server;
use crate::table::{Figure, Table};
use crate::{data, run};

const ANSWER: Duration = Duration::from_millis(200);
const RUNS: usize = 3;

/// The duration of a run at best.
const LONG: Duration = Duration::from_secs(3);

pub fn more(table: &mut Table) {
    for threads in [64, 256, 1024] {
        // Every partner starts among those that have never answered, which may use half of the threads; most requests
        // are for partners that have answered.
        let accounts = data::accounts("ok-", 2 * threads);
        let server = Server::with(&[Ipv4Addr::LOCALHOST], ANSWER, false);
        let possible = threads as f64 / ANSWER.as_secs_f64();
        let messages = (possible * time(LONG).as_secs_f64()) as u64;
        let preload = Preload::new(&data::taking_turns(messages, &accounts));
        let per_second = || {
            let engine = run::engine(&format!(
                "[engine]\ndelivery_threads = {threads}\n{}[partners.default]\nurl = \"http://127.0.0.1:{}/{{account}}\"\nformat = \"single\"\n",
                preload.queue("invoice", messages, r#"handler = "order""#),
                server.port,
            ));
            run::until_empty(engine).per_second()
        };
        let pairs: Vec<_> = (0..runs(RUNS)).map(|_| (per_second(), possible)).collect();
        table.add(Figure::pairs(
            format!("http, answers after 200 ms, {threads} threads"),
            "requests/s",
            &pairs,
            "threads / 200 ms",
        ));
    }
}
