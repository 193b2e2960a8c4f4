//! `octoconf try`: shows what a queue's handler makes of bodies, without a queue or a partner.
//!
//! It runs on the main thread. Nothing is sent, and nothing is taken from a queue.

use std::io::{self, BufRead, Write};
use std::time::SystemTime;

use serde::Serialize;

use super::lines::{Line, LineError, Lines};
use crate::handler::{Handler, run_caught};
use crate::json;
use crate::message::{Message, Outcome};
use crate::plain::{self, Visible};

/// The number of lines per outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All lines, whatever their outcome.
    pub lines: u64,
    /// Lines that lead to deliveries.
    pub delivered: u64,
    /// The deliveries of those lines.
    pub deliveries: u64,
    /// Lines that the handler discards.
    pub discarded: u64,
    /// Lines that the handler wants to retry later.
    pub retried: u64,
    /// Lines that the handler rejects.
    pub rejected: u64,
}

/// Why `try` stopped.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// A line is too long or cannot be read.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The output failed.
    #[error("the results cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Runs a handler over each line and writes the outcomes to `out`.
///
/// For people, there is one line per result: the line number in the input, the outcome, then the bucket and the payload
/// of a delivery, or the reason. Characters that a terminal would not show unchanged are escaped. With `json`, there is
/// one array of objects `{line, outcome, bucket, reason, payload}`, one object per delivery or other outcome. The array
/// is complete even if the input fails midway. `payload` is a JSON value if it is JSON, and a string otherwise; fields
/// that do not apply are null, and a retry also has `after_s`.
///
/// Each body is a message of its own with the id `line-N`, sent now and received once. Blocks for as long as the input,
/// the handler and the output do.
pub fn try_out(handler: &dyn Handler, lines: impl BufRead, out: &mut dyn Write, json: bool) -> Result<Tally, TryError> {
    let mut report = Report { out, json, rows: 0 };
    report.open()?;
    let mut tally = Tally::default();
    for line in Lines::new(lines) {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                // Where the output fails as well, the input is what the caller has to correct.
                let _ = report.close();
                return Err(error.into());
            }
        };
        let outcome = run_caught(handler, &message(&line));
        tally.count(&outcome);
        report.outcome(line.number, &outcome)?;
    }
    report.close()?;
    Ok(tally)
}

fn message(line: &Line) -> Message {
    #[expect(clippy::disallowed_methods, reason = "a command stands in for the queue, whose clock this is")]
    let sent_at = SystemTime::now();
    Message { sent_at, ..Message::new(format!("line-{}", line.number), line.body.clone()) }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        self.lines += 1;
        match outcome {
            Outcome::Deliver(deliveries) => {
                self.delivered += 1;
                self.deliveries += deliveries.len() as u64;
            }
            Outcome::Discard => self.discarded += 1,
            Outcome::Retry { .. } => self.retried += 1,
            Outcome::Reject { .. } => self.rejected += 1,
        }
    }
}

/// One result as `--json` shows it, without the payload, which is inserted unchanged.
#[derive(Serialize)]
struct Row<'a> {
    line: u64,
    outcome: &'a str,
    bucket: Option<&'a str>,
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_s: Option<f64>,
}

struct Report<'a> {
    out: &'a mut dyn Write,
    json: bool,
    rows: u64,
}

impl Report<'_> {
    fn open(&mut self) -> io::Result<()> {
        if self.json { self.out.write_all(b"[") } else { Ok(()) }
    }

    fn close(&mut self) -> io::Result<()> {
        if self.json {
            self.out.write_all(if self.rows == 0 { b"]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()
    }

    fn outcome(&mut self, line: u64, outcome: &Outcome) -> io::Result<()> {
        let row = Row { line, outcome: outcome.word(), bucket: None, reason: None, after_s: None };
        match outcome {
            Outcome::Deliver(deliveries) => deliveries
                .iter()
                .try_for_each(|delivery| self.row(&Row { bucket: Some(&delivery.account), ..row }, Some(&delivery.payload))),
            Outcome::Discard => self.row(&row, None),
            Outcome::Retry { after, reason } => {
                self.row(&Row { reason: Some(reason), after_s: Some(after.as_secs_f64()), ..row }, None)
            }
            Outcome::Reject { reason } => self.row(&Row { reason: Some(reason), ..row }, None),
        }
    }

    fn row(&mut self, row: &Row<'_>, payload: Option<&[u8]>) -> io::Result<()> {
        self.rows += 1;
        if self.json { self.json_row(row, payload) } else { self.text_row(row, payload) }
    }

    fn json_row(&mut self, row: &Row<'_>, payload: Option<&[u8]>) -> io::Result<()> {
        self.out.write_all(if self.rows == 1 { b"\n" } else { b",\n" })?;
        // The payload is inserted as it would be sent, to the last digit.
        let mut object = serde_json::to_vec(row)?;
        object.pop();
        object.extend_from_slice(b",\"payload\":");
        match payload {
            None => object.extend_from_slice(b"null"),
            Some(payload) if json::check(payload, json::Bounds::NONE).is_ok() => object.extend_from_slice(payload),
            Some(other) => serde_json::to_writer(&mut object, &String::from_utf8_lossy(other))?,
        }
        object.push(b'}');
        // Only a payload that is no JSON is no UTF-8, and that is replaced above.
        self.out.write_all(plain::json(&String::from_utf8_lossy(&object)).as_bytes())
    }

    fn text_row(&mut self, row: &Row<'_>, payload: Option<&[u8]>) -> io::Result<()> {
        write!(self.out, "{} {}", row.line, row.outcome)?;
        if let Some(after) = row.after_s {
            write!(self.out, " after {after} s")?;
        }
        if let Some(bucket) = row.bucket {
            // Where a blank would hide the end of the name, it is quoted.
            let shown = if bucket.contains(' ') { plain::quoted(bucket).into() } else { plain::name(bucket) };
            write!(self.out, " {shown}")?;
        }
        if let Some(payload) = payload {
            write!(self.out, " {}", Visible(&String::from_utf8_lossy(payload)))?;
        }
        if let Some(reason) = row.reason {
            write!(self.out, " {}", Visible(reason))?;
        }
        self.out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests;
