//! Writes a listing entry by entry. Nothing is collected, so that a listing of millions of entries takes no memory.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::time::SystemTime;

use serde::Serialize;

use crate::{plain, rfc3339};

/// An entry of a listing: one line of a table, or one JSON object.
pub trait Entry {
    /// The text shown if there are no entries.
    const NONE: &'static str;

    /// Returns the header line of the table.
    fn head() -> String;

    /// Returns the entry's line of the table.
    fn row(&self) -> String;

    /// Returns the entry as a JSON object.
    fn object(&self) -> impl Serialize;
}

/// A listing in progress: a table, or one JSON array.
pub struct Listing<'a, T> {
    out: &'a mut dyn Write,
    json: bool,
    any: bool,
    of: PhantomData<fn(&T)>,
}

impl<'a, T: Entry> Listing<'a, T> {
    /// Creates a listing. Nothing is written before the first entry or the end, so a listing that fails at
    /// once leaves no unfinished array.
    pub fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json, any: false, of: PhantomData }
    }

    /// Writes an entry. Blocks only to write, as does [`Listing::end`]. Errors are those of the output.
    pub fn entry(&mut self, entry: &T) -> io::Result<()> {
        let separator = if self.any { ",\n" } else { "[\n" };
        if self.json {
            write!(self.out, "{separator}{}", plain::json(&serde_json::to_string(&entry.object())?))?;
        } else {
            if !self.any {
                writeln!(self.out, "{}", T::head())?;
            }
            writeln!(self.out, "{}", entry.row())?;
        }
        self.any = true;
        Ok(())
    }

    /// Writes the end of the listing, or [`Entry::NONE`] if it is an empty table, and flushes the output.
    pub fn end(self) -> io::Result<()> {
        match (self.json, self.any) {
            (true, true) => self.out.write_all(b"\n]\n"),
            (true, false) => self.out.write_all(b"[]\n"),
            (false, true) => Ok(()),
            (false, false) => writeln!(self.out, "{}", T::NONE),
        }?;
        self.out.flush()
    }

    /// Ends a listing that could not be read to its end: completes an array that was begun, and writes nothing else,
    /// since what is missing is not known.
    pub fn break_off(self) -> io::Result<()> {
        if self.any { self.end() } else { Ok(()) }
    }
}

pub(super) fn time(at: SystemTime) -> String {
    rfc3339::seconds(at).to_string()
}
