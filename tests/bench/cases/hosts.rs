//! Five hundred hosts against one, with the same requests. The number of delivery threads is the default, and so is the
//! number of connections that may be idle.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::memory::Preload;
use crate::extent::{count, runs};
use crate::server::Server;
use crate::table::{Aim, Figure, Table};
use crate::{data, run};

const HOSTS: usize = 500;
const MESSAGES: u64 = 60_000;
const RUNS: usize = 5;

pub fn many(table: &mut Table) {
    let hosts: Vec<Ipv4Addr> = (0..HOSTS).map(|host| Ipv4Addr::new(127, 1, (host / 250) as u8, (host % 250) as u8 + 1)).collect();
    let server = Server::with(&hosts, Duration::ZERO, false);
    // Each account is a host.
    let accounts: Vec<String> = hosts.iter().map(Ipv4Addr::to_string).collect();
    let preload = Preload::new(&data::taking_turns(count(MESSAGES), &accounts));
    let time = |host: &str| {
        let engine = run::engine(&format!(
            "{}[partners.default]\nurl = \"http://{host}:{}/{{account}}\"\nformat = \"single\"\n\
             allow_private_addresses = true\n",
            preload.queue("invoice", count(MESSAGES), r#"handler = "order""#),
            server.port,
        ));
        run::until_empty(engine).took.as_secs_f64()
    };
    let pairs: Vec<_> = (0..runs(RUNS)).map(|_| (time("{account}"), time("127.1.0.1"))).collect();
    table.add(Figure::pairs("http, 500 hosts, 60,000 requests", "s", &pairs, "one host").aim(Aim::AtMost(1.2)));
}
