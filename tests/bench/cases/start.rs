//! The time from the start of the program to its first delivery.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::memory::Preload;
use crate::data;
use crate::extent::runs;
use crate::server::Server;
use crate::table::{Figure, Table};

const RUNS: usize = 9;
const PROGRAM: &str = env!("CARGO_BIN_EXE_octoconf");

pub fn measure(table: &mut Table) {
    let server = Server::start();
    let preload = Preload::new(&data::taking_turns(1, &data::accounts("ok-", 1)));
    let folder = tempfile::tempdir().expect("a folder to work in");
    let config = folder.path().join("octoconf.toml");
    let settings = format!(
        "[admin]\nlisten = \"\"\n{}[partners.default]\nurl = \"http://127.0.0.1:{}/{{account}}\"\n",
        preload.queue("invoice", 1, r#"handler = "order""#),
        server.port
    );
    std::fs::write(&config, settings).expect("a file to start with");
    let program = || {
        let mut program = Command::new(PROGRAM);
        program.stdout(Stdio::null()).stderr(Stdio::null());
        program
    };
    let first_delivery = || {
        let before = server.requests();
        let start = Instant::now();
        let mut child = program().arg("--config").arg(&config).args(["run", "--until-empty"]).spawn().expect("it starts");
        while server.requests() == before {
            assert!(start.elapsed() < Duration::from_secs(20), "no delivery came");
            thread::sleep(Duration::from_micros(100));
        }
        let took = start.elapsed();
        assert!(child.wait().expect("it ends").success());
        took.as_secs_f64() * 1e3
    };
    let version = || {
        let start = Instant::now();
        assert!(program().arg("--version").status().expect("it starts").success());
        start.elapsed().as_secs_f64() * 1e3
    };
    let pairs: Vec<_> = (0..runs(RUNS)).map(|_| (first_delivery(), version())).collect();
    table.add(Figure::pairs("start to first http delivery", "ms", &pairs, "octoconf --version"));
}
