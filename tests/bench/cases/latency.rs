//! How long a message takes from its handler to its partner's side: at the talk's pace, and at half of the maximum.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::memory::Preload;
use crate::extent::{count, runs, time};
use crate::server::Server;
use crate::stamp::Arrival;
use crate::table::{Aim, Figure, Table};
use crate::traffic::Traffic;
use crate::{data, run};

const RUNS: usize = 3;

/// The pace of the talk in messages per second: 17 million a day.
const PACE: u64 = 200;

pub fn measure(table: &mut Table) {
    let accounts = data::accounts("ok-", data::ACCOUNTS as usize);
    at(table, "at 200 messages/s", PACE, &accounts, Some(Aim::AtMost(20.0)));
    let half = most(&accounts) / 2;
    at(table, &format!("at {half} messages/s, half of the most"), half, &accounts, None);
}

fn at(table: &mut Table, pace: &str, rate: u64, accounts: &[String], aim: Option<Aim>) {
    let server = Server::with(&[Ipv4Addr::LOCALHOST], Duration::ZERO, true);
    let none: &[String] = &[];
    let traffic = Traffic { accounts, rate, time: time(Duration::from_secs(8)), burst: (none, 0), engine: "", partner: "" };
    let runs: Vec<_> = (0..runs(RUNS)).map(|_| traffic.run(&server)).collect();
    for came in &runs {
        assert_eq!(came.missing_and_repeated(), (0, 0), "every message comes, once");
    }
    let quantile = |part, since: fn(&Arrival) -> Duration| runs.iter().map(|came| came.quantile(part, since)).collect::<Vec<_>>();
    table.add(Figure::new(format!("handler to partner, {pace}: median"), "ms", quantile(0.5, |arrival| arrival.since_seen)));
    table.add(Figure::new(format!("handler to partner, {pace}: p99"), "ms", quantile(0.99, |arrival| arrival.since_seen)));
    let sent = Figure::new(format!("queue to partner, {pace}: p99"), "ms", quantile(0.99, |arrival| arrival.since_sent));
    table.add(match aim {
        Some(aim) => sent.aim(aim),
        None => sent,
    });
}

/// Returns the number of messages per second if all are there from the start.
fn most(accounts: &[String]) -> u64 {
    let server = Server::start();
    let messages = count(60_000);
    let preload = Preload::new(&data::taking_turns(messages, accounts));
    let engine = run::engine(&format!(
        "{}[partners.default]\nurl = \"http://127.0.0.1:{}/{{account}}\"\nformat = \"single\"\n",
        preload.queue("invoice", messages, r#"handler = "order""#),
        server.port,
    ));
    run::until_empty(engine).per_second() as u64
}
