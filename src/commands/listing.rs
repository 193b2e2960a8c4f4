//! A listing, written as its entries come: nothing is collected, so that one of millions costs no memory.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::time::SystemTime;

use serde::Serialize;

/// What one line shows.
pub trait Entry {
    /// What is said where there is none.
    const NONE: &'static str;

    /// The first line of the table.
    fn head() -> String;

    /// Its line of the table.
    fn row(&self) -> String;

    /// What it is in JSON: one object.
    fn object(&self) -> impl Serialize;
}

/// A table, or one JSON array.
pub struct Listing<'a, T> {
    out: &'a mut dyn Write,
    json: bool,
    any: bool,
    of: PhantomData<fn(&T)>,
}

impl<'a, T: Entry> Listing<'a, T> {
    /// Nothing is written before the first entry or the end: a listing that fails at once leaves no half of an array.
    pub fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json, any: false, of: PhantomData }
    }

    /// Blocks for the output alone, as does the end.
    pub fn entry(&mut self, entry: &T) -> io::Result<()> {
        let separator = if self.any { ",\n" } else { "[\n" };
        if self.json {
            write!(self.out, "{separator}{}", serde_json::to_string(&entry.object())?)?;
        } else {
            if !self.any {
                writeln!(self.out, "{}", T::head())?;
            }
            writeln!(self.out, "{}", entry.row())?;
        }
        self.any = true;
        Ok(())
    }

    pub fn end(self) -> io::Result<()> {
        match (self.json, self.any) {
            (true, true) => self.out.write_all(b"\n]\n"),
            (true, false) => self.out.write_all(b"[]\n"),
            (false, true) => Ok(()),
            (false, false) => writeln!(self.out, "{}", T::NONE),
        }
    }
}

pub(super) fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
