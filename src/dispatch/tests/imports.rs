//! The dispatcher is pure, and so is the vocabulary that it shares with the others: they use the modules and crates
//! that are listed here, none of which is a channel, a clock, a log, a file, a socket or a thread.

use std::path::{Path, PathBuf};

/// The folders that must be pure, each with the modules of this crate that it may use.
const PURE: [(&str, &[&str]); 2] = [("src/dispatch", &["dispatch", "message"]), ("src/message", &["message"])];

/// The modules of the standard library that a pure file may use.
const STD: [&str; 11] = ["cmp", "collections", "fmt", "hash", "hint", "iter", "mem", "num", "sync::Arc", "time::", "ops"];

/// The crates that a pure file may use.
const CRATES: [&str; 10] =
    ["bytes", "compact_str", "fastrand", "foldhash", "hashbrown", "serde", "slotmap", "smallvec", "thiserror", "uuid"];

/// Reads of a clock, and output without an import.
const ACTS: [&str; 6] = ["Instant::now", "SystemTime::now", ".elapsed()", "print!", "println!", "dbg!"];

#[test]
fn the_pure_core_uses_nothing_of_the_outside() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the manifest is beside the sources");
    let foreign = foreign_crates(&manifest);
    assert!(foreign.iter().any(|name| name == "crossbeam_channel") && foreign.iter().any(|name| name == "log"), "{foreign:?}");
    let mut found = Vec::new();
    for (folder, modules) in PURE {
        let files = sources(&root.join(folder));
        assert!(!files.is_empty(), "{folder} has no sources");
        for (path, text) in &files {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
            for (number, line) in lines {
                let at = format!("{}:{}", path.display(), number + 1);
                found.extend(impurities(line, modules, &foreign).into_iter().map(|what| format!("{at}: {what}")));
            }
        }
    }
    assert!(found.is_empty(), "the dispatcher decides and does not act; move this to an edge:\n{}", found.join("\n"));
}

#[test]
fn an_impure_line_is_found() {
    let foreign = foreign_crates("[dependencies]\nparking_lot = \"0.13\"\nbytes = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n");
    assert_eq!(foreign, ["parking_lot"]);
    let impure = |line: &str| !impurities(line, &["dispatch", "message"], &foreign).is_empty();
    for line in [
        "use crate::queue::Queue;",
        "    let names = crate::net::names::Names::system();",
        "use crate::{json, message};",
        "use std::sync::Mutex;",
        "use std::sync::{Arc, mpsc};",
        "use std::thread;",
        "    let lock = parking_lot::Mutex::new(());",
        "    let now = std::time::Instant::now();",
        "    let took = start.elapsed();",
        "    eprintln!(\"here\");",
    ] {
        assert!(impure(line), "{line}");
    }
    for line in [
        "use crate::message::{Account, Item};",
        "use crate::dispatch::Dispatcher;",
        "use std::collections::VecDeque;",
        "use std::sync::Arc;",
        "use std::time::{Duration, Instant};",
        "    let catalog::Entry { place, .. } = entry;",
        "    let held = std::mem::take(&mut self.held);",
    ] {
        assert!(!impure(line), "{line}");
    }
}

/// Returns what the line uses that a file with these modules may not use.
fn impurities(line: &str, modules: &[&str], foreign: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths_of(line, "crate") {
        if !modules.iter().any(|module| path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))) {
            found.push(format!("crate::{path}"));
        }
    }
    for path in paths_of(line, "std") {
        if !STD.iter().any(|allowed| path.starts_with(allowed)) {
            found.push(format!("std::{path}"));
        }
    }
    let crates = foreign.iter().filter(|name| paths_of(line, name).next().is_some());
    found.extend(crates.cloned());
    found.extend(ACTS.iter().filter(|act| line.contains(*act)).map(|act| (*act).to_owned()));
    found
}

/// Returns what follows `ROOT::` in the line, each time that it stands there as the beginning of a path.
fn paths_of<'line>(line: &'line str, root: &str) -> impl Iterator<Item = &'line str> {
    let root = format!("{root}::");
    let starts: Vec<usize> = line.match_indices(&root).map(|(at, _)| at).collect();
    let begins =
        move |at: &usize| !line[..*at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':');
    let path = move |at: usize| {
        let rest = &line[at + root.len()..];
        rest.split(|next: char| !(next.is_alphanumeric() || next == '_' || next == ':')).next().unwrap_or_default()
    };
    starts.into_iter().filter(begins).map(path)
}

/// Returns the crates of the manifest's `[dependencies]` that a pure file may not use.
fn foreign_crates(manifest: &str) -> Vec<String> {
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default().split("\n[").next().unwrap_or_default();
    let names = section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    let names = names.map(|(name, _)| name.trim().replace('-', "_"));
    names.filter(|name| !CRATES.contains(&name.as_str())).collect()
}

/// Returns the path and the text of each source in the folder and below it; those of tests are exempt.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the sources are beside their tests") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() && !path.ends_with("tests") {
            files.append(&mut sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            files.push((path, text));
        }
    }
    files
}
