//! How healthy partners are affected by the others: 2,900 partners with steady traffic, first all healthy, then with
//! every tenth hanging and every twentieth answering 503.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::data;
use crate::extent::{runs, time};
use crate::server::Server;
use crate::stamp::Arrival;
use crate::table::{Aim, Figure, Table};
use crate::traffic::{Came, Traffic};

/// The number of pairs of runs. A p99 depends on one message in a hundred, and on a shared machine the pauses of other
/// processes affect about as many: the median of three pairs still varied by a third from call to call.
const RUNS: usize = 7;

const RATE: u64 = 2_000;
const TIME: Duration = Duration::from_secs(15);

/// The number of deliveries that wait for each hanging partner when the engine starts, so that these partners fill most
/// of the room and all hang at once.
const BURST: u64 = 30;

/// Several timeouts fit into a run.
const PARTNER: &str = "timeout = \"4s\"";

const ALL_WELL: &str = "all partners well";

pub fn measure(table: &mut Table) {
    let count = data::ACCOUNTS as usize;
    let well = data::accounts("ok-", count);
    let mixed: Vec<String> = (0..count)
        .map(|account| match account % 20 {
            0 | 10 => format!("hang-{account}"),
            5 => format!("busy-{account}"),
            _ => format!("ok-{account}"),
        })
        .collect();
    let hanging: Vec<String> = mixed.iter().filter(|account| account.starts_with("hang")).cloned().collect();
    let none: &[String] = &[];
    let run = |accounts, burst| {
        let server = Server::with(&[Ipv4Addr::LOCALHOST], Duration::ZERO, true);
        Traffic { accounts, rate: RATE, time: time(TIME), burst, engine: "", partner: PARTNER }.run(&server)
    };
    let pairs: Vec<(Came, Came)> = (0..runs(RUNS)).map(|_| (run(&mixed, (&hanging, BURST)), run(&well, (none, 0)))).collect();
    let share = mixed.iter().filter(|account| account.starts_with("ok")).count() as f64 / count as f64;

    let quantile = |part, since: fn(&Arrival) -> Duration| {
        let both = |(mixed, well): &(Came, Came)| (mixed.quantile(part, since), well.quantile(part, since));
        pairs.iter().map(both).collect::<Vec<_>>()
    };
    let title = |what: &str| format!("15% of the partners away: {what}");
    let seen: fn(&Arrival) -> Duration = |arrival| arrival.since_seen;
    let sent: fn(&Arrival) -> Duration = |arrival| arrival.since_sent;
    table.add(Figure::pairs(title("the others, handler to partner, median"), "ms", &quantile(0.5, seen), ALL_WELL));
    table.add(
        Figure::pairs(title("the others, handler to partner, p99"), "ms", &quantile(0.99, seen), ALL_WELL).aim(Aim::AtMost(1.2)),
    );
    table.add(Figure::pairs(title("the others, queue to partner, p99"), "ms", &quantile(0.99, sent), ALL_WELL));
    let throughput: Vec<_> = pairs.iter().map(|(mixed, well)| (mixed.per_second(), well.per_second() * share)).collect();
    table.add(
        Figure::pairs(title("the others, throughput"), "messages/s", &throughput, "their part when all are well")
            .aim(Aim::AtLeast(0.9)),
    );
    let lost: Vec<(usize, usize)> = pairs.iter().map(|(mixed, _)| mixed.missing_and_repeated()).collect();
    let missing = lost.iter().map(|(missing, _)| *missing as f64).collect();
    let repeated = lost.iter().map(|(_, repeated)| *repeated as f64).collect();
    table.add(Figure::new(title("the others, not delivered"), "messages", missing).aim(Aim::AtMost(0.0)));
    table.add(Figure::new(title("the others, delivered twice"), "messages", repeated).aim(Aim::AtMost(0.0)));
}
