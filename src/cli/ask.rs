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
use super::failure::{Failure, in_full};

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
    if terminal {
        // What stood there is kept, above: it scrolls out of the place that is written over from now on.
        let (lines, _) = Term::stdout().size();
        io::stdout().write_all("\n".repeat(lines.into()).as_bytes())?;
    }
    loop {
        let text = match &seen {
            Ok(status) if json => format!("{status}\n"),
            Ok(status) => render(status, before.as_ref(), size(true)),
            // It may be restarted just now.
            Err(Failure::Failed(error)) if terminal => in_full(error) + "\n",
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

fn show(text: &str, terminal: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // In one piece, so that no half of it is seen.
    out.write_all(if terminal { in_place(text) } else { text.to_owned() }.as_bytes())?;
    out.flush()
}

/// For a terminal, in the place of what was there, without a flicker: each line is written over and its rest cleared, then what is below.
/// It asks nothing of the terminal that would have to be undone, so that a signal may end it at any moment.
fn in_place(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that knows what [`in_place`] makes use of.
    #[derive(Default)]
    struct Terminal {
        lines: Vec<String>,
        line: usize,
        column: usize,
    }

    impl Terminal {
        fn write(&mut self, mut text: &str) {
            while !text.is_empty() {
                self.lines.resize(self.lines.len().max(self.line + 1), String::new());
                let line = &mut self.lines[self.line];
                if let Some(rest) = text.strip_prefix("\x1b[H") {
                    (self.line, self.column, text) = (0, 0, rest);
                } else if let Some(rest) = text.strip_prefix("\x1b[K") {
                    line.truncate(self.column);
                    text = rest;
                } else if let Some(rest) = text.strip_prefix("\x1b[J") {
                    line.truncate(self.column);
                    self.lines.truncate(self.line + 1);
                    text = rest;
                } else if let Some(rest) = text.strip_prefix('\n') {
                    (self.line, self.column, text) = (self.line + 1, 0, rest);
                } else {
                    let (letter, rest) = text.split_at(1);
                    let end = line.len().min(self.column + 1);
                    line.replace_range(self.column..end, letter);
                    (self.column, text) = (self.column + 1, rest);
                }
            }
        }
    }

    #[test]
    fn nothing_is_left_of_what_was_longer_or_wider() {
        let mut terminal = Terminal::default();
        for text in ["a long first line\nand a second\nand a third\n", "short\n\nthird\n", "one\n", "one\ntwo\n"] {
            terminal.write(&in_place(text));
            let shown: String = terminal.lines.iter().map(|line| format!("{line}\n")).collect();
            assert_eq!(shown, format!("{text}\n"), "the cursor stands below");
        }
    }
}
