//! The commands `status`, `why` and `skip`, which query a running instance.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use console::Term;
use crossbeam_channel::tick;
use octoconf::commands::shown_json;
use octoconf::commands::status::{Size, render};
use serde_json::Value;

use super::client::Client;
use super::failure::{Failure, in_full};
use super::output;

/// The interval at which `status --watch` refreshes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Prints the status of the running instance, once or until interrupted.
pub fn status(config: &Path, watch: bool, json: bool) -> Result<ExitCode, Failure> {
    let client = Client::new(config)?;
    let first = client.status()?;
    if watch {
        return follow(&client, first, json);
    }
    let text = if json { shown_json(&format!("{first:#}\n")) } else { render(&first, None, size(false)) };
    output::unless_unread(show(&text, false))?;
    Ok(ExitCode::SUCCESS)
}

/// Refreshes the status until the output's reader is gone or a signal ends the process.
fn follow(client: &Client, first: Value, json: bool) -> Result<ExitCode, Failure> {
    let terminal = Term::stdout().is_term() && !json;
    let mut before: Option<Value> = None;
    let mut seen = Ok(first);
    if terminal {
        // Scrolls the previous content of the screen out of the lines that are overwritten from now on.
        let (lines, _) = Term::stdout().size();
        io::stdout().write_all("\n".repeat(lines.into()).as_bytes())?;
    }
    let refresh = tick(REFRESH_INTERVAL);
    loop {
        let text = match &seen {
            Ok(status) if json => shown_json(&format!("{status}\n")),
            Ok(status) => render(status, before.as_ref(), size(true)),
            // The instance may be restarting.
            Err(Failure::Failed(error)) if terminal => in_full(error) + "\n",
            Err(_) => return seen.map(|_| ExitCode::SUCCESS),
        };
        if let Err(error) = show(&text, terminal) {
            output::unless_unread(Err(error))?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Ok(status) = seen {
            before = Some(status);
        }
        // The ticker belongs to this thread, so it cannot be disconnected. No stop has to be awaited beside it: a signal
        // ends the process at once, here and in a request.
        let _ = refresh.recv();
        seen = client.status();
    }
}

fn show(text: &str, terminal: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // Written in one piece, so that no partial screen is visible.
    out.write_all(if terminal { in_place(text) } else { text.to_owned() }.as_bytes())?;
    out.flush()
}

/// Returns the text with control sequences that draw it from the top of a terminal, without flicker: each line is
/// overwritten and its rest cleared, then everything below is cleared. The sequences change no mode of the terminal, so
/// a signal may end the process at any moment.
fn in_place(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

/// Returns the size of the output, unbounded if it is not a terminal. With `whole`, the number of lines is limited to
/// what the terminal shows at once.
fn size(whole: bool) -> Size {
    let seen = Term::stdout().size_checked().filter(|_| Term::stdout().is_term());
    seen.map_or(Size::UNBOUNDED, |(lines, columns)| Size {
        columns: columns.into(),
        // The cursor occupies the last line.
        lines: if whole { usize::from(lines).saturating_sub(1) } else { usize::MAX },
    })
}

/// Prints why a partner waits.
pub fn why(config: &Path, account: &str, json: bool) -> Result<ExitCode, Failure> {
    explain("", &Client::new(config)?.partner(account)?, json)
}

/// Sets the first delivery of a waiting partner aside as a dead letter, then prints why the partner waits now.
pub fn skip(config: &Path, account: &str, json: bool) -> Result<ExitCode, Failure> {
    let report = Client::new(config)?.act(account, "skip")?;
    explain(if json { "" } else { "The delivery at its head is set aside as a dead letter.\n" }, &report, json)
}

/// Prints why a partner waits, after a text of whole lines.
fn explain(before: &str, report: &Value, json: bool) -> Result<ExitCode, Failure> {
    let mut text = before.to_owned();
    if json {
        text += &shown_json(&format!("{report:#}\n"));
    } else {
        let sentences = report["why"].as_array().into_iter().flatten();
        text.extend(sentences.filter_map(Value::as_str).flat_map(|sentence| [sentence, "\n"]));
    }
    output::unless_unread(show(&text, false))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that understands the control sequences of [`in_place`].
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
