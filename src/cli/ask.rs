//! `status`, `why`, `skip`: what a person asks of a running instance.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use console::Term;
use crossbeam_channel::never;
use octoconf::commands::status::{Size, render};
use serde_json::Value;

use super::client::Client;
use super::failure::Failure;

/// Between two looks.
const REFRESH: Duration = Duration::from_secs(1);

pub fn status(config: &Path, watch: bool, json: bool) -> Result<ExitCode, Failure> {
    let client = Client::new(config)?;
    let first = client.status()?;
    if watch {
        return follow(&client, first, json);
    }
    let mut out = io::stdout();
    if json {
        writeln!(out, "{first:#}")?;
    } else {
        out.write_all(render(&first, None, size(false)).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Until the reader has gone, or a signal comes.
fn follow(client: &Client, first: Value, json: bool) -> Result<ExitCode, Failure> {
    let terminal = Term::stdout().is_term() && !json;
    let mut before: Option<Value> = None;
    let mut seen = Ok(first);
    loop {
        let text = match &seen {
            Ok(status) if json => format!("{status}\n"),
            Ok(status) => render(status, before.as_ref(), size(true)),
            // It may be restarted just now.
            Err(Failure::Failed(error)) if terminal => format!("{error:#}\n"),
            Err(_) => return seen.map(|_| ExitCode::SUCCESS),
        };
        show(&text, terminal)?;
        if let Ok(status) = seen {
            before = Some(status);
        }
        let _ = never::<()>().recv_timeout(REFRESH);
        seen = client.status();
    }
}

/// On a terminal in the place of what was there, without a flicker: each line is written over and its rest cleared.
fn show(text: &str, terminal: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if terminal {
        let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        write!(out, "\x1b[H{lines}\x1b[J")?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

/// What the output has room for; `whole`: no more lines than the terminal shows at once.
fn size(whole: bool) -> Size {
    let seen = Term::stdout().size_checked().filter(|_| Term::stdout().is_term());
    seen.map_or(Size::UNBOUNDED, |(lines, columns)| Size {
        columns: columns.into(),
        // The cursor stands on the last one.
        lines: if whole { usize::from(lines).saturating_sub(1) } else { usize::MAX },
    })
}

pub fn why(config: &Path, account: &str, json: bool) -> Result<ExitCode, Failure> {
    explain(&Client::new(config)?.partner(account)?, json)
}

pub fn skip(config: &Path, account: &str, json: bool) -> Result<ExitCode, Failure> {
    let report = Client::new(config)?.act(account, "skip")?;
    if !json {
        writeln!(io::stdout(), "The delivery at its head is set aside as a dead letter.")?;
    }
    explain(&report, json)
}

fn explain(report: &Value, json: bool) -> Result<ExitCode, Failure> {
    let mut out = io::stdout();
    if json {
        writeln!(out, "{report:#}")?;
    } else {
        let sentences = report["why"].as_array().into_iter().flatten();
        for sentence in sentences.filter_map(Value::as_str) {
            writeln!(out, "{sentence}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
