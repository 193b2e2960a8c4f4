//! Reads the keys of one section value by value, so that every bad value is reported and not only the first.
//!
//! A section is a chain of tables: the section as written, the section that it inherits from, and the
//! compiled-in defaults. A bad value is reported and the next table's value is used in its place, so that the
//! checks across keys still run.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

use config::{Value, ValueKind};
use serde::Deserialize;

use super::problem::{Problems, join};
use super::tree::Tree;
use super::units::{Maybe, Size, Span};
use crate::mask::mask_url;
use crate::settings::Rate;

/// A type that the value of a key can have.
pub(super) trait Leaf: for<'de> Deserialize<'de> + Default {
    /// What to write instead of a bad value, with an example.
    const EXPECTED: &'static str;
    /// Whether the type is a number, so that a whole number that does not fit the type is reported as out of range.
    const IS_NUMBER: bool = false;

    /// Whether a value of this kind is accepted at all. `config` converts too much: `on` or `1.7` to a whole number, a
    /// number to text. Text is accepted for numbers and booleans, because INI and the environment have nothing else.
    fn takes(kind: &ValueKind) -> bool {
        matches!(kind, ValueKind::String(_))
    }
}

fn is_whole(kind: &ValueKind) -> bool {
    match kind {
        ValueKind::I64(_) | ValueKind::I128(_) => true,
        ValueKind::String(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
        }
        _ => false,
    }
}

impl Leaf for String {
    const EXPECTED: &'static str = "text in quotes";
}

impl Leaf for usize {
    const EXPECTED: &'static str = "a whole number";
    const IS_NUMBER: bool = true;
    fn takes(kind: &ValueKind) -> bool {
        is_whole(kind)
    }
}

impl Leaf for u32 {
    const EXPECTED: &'static str = "a whole number";
    const IS_NUMBER: bool = true;
    fn takes(kind: &ValueKind) -> bool {
        is_whole(kind)
    }
}

impl Leaf for u64 {
    const EXPECTED: &'static str = "a whole number";
    const IS_NUMBER: bool = true;
    fn takes(kind: &ValueKind) -> bool {
        is_whole(kind)
    }
}

impl Leaf for bool {
    const EXPECTED: &'static str = "true or false";
    fn takes(kind: &ValueKind) -> bool {
        matches!(kind, ValueKind::Boolean(_) | ValueKind::String(_))
    }
}

impl Leaf for Span {
    const EXPECTED: &'static str = "a duration such as \"250ms\", \"30s\" or \"10m\"";
}

impl Leaf for Maybe<Span> {
    const EXPECTED: &'static str = "a duration such as \"30s\" or \"10m\", or \"\" for none";
}

impl Leaf for Size {
    const EXPECTED: &'static str = "a size such as \"256KiB\" or \"1GiB\"";
}

impl Leaf for Maybe<Rate> {
    const EXPECTED: &'static str = "a rate such as \"50/s\", \"300/m\" or \"10/h\", or \"\" for none";
}

/// One table of a chain, with its path for messages.
#[derive(Clone, Copy)]
pub(super) struct Level<'a> {
    pub(super) path: &'a str,
    pub(super) table: &'a Tree,
}

/// A chain of tables, the most specific first.
pub(super) struct Section<'a> {
    written: Vec<Level<'a>>,
    defaults: &'a Tree,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// Creates a section from the tables as written, at least one, and the compiled-in defaults.
    pub(super) fn new(written: Vec<Level<'a>>, defaults: &'a Tree, problems: &'a Problems) -> Self {
        Self { written, defaults, problems }
    }

    /// Returns the value of a key.
    pub(super) fn get<T: Leaf>(&self, key: &str) -> T {
        self.get_if(key, |_| Ok(()))
    }

    /// Returns the value of a key that must lie within a range.
    pub(super) fn get_in<T: Leaf + PartialOrd + Display>(&self, key: &str, range: RangeInclusive<T>) -> T {
        let out_of_range =
            |found: &dyn Display| format!("{found} is out of range; set it to {} to {}", range.start(), range.end());
        self.find(key, |value| match read::<T>(key, value) {
            Ok(read) if range.contains(&read) => Ok(read),
            Ok(read) => Err(out_of_range(&read)),
            Err(_) if T::IS_NUMBER && T::takes(&value.kind) => Err(out_of_range(&shown(key, value))),
            Err(text) => Err(text),
        })
    }

    /// Returns the value of a key that must pass a check. The check's error says what is wrong and what to
    /// do, and never quotes a secret.
    pub(super) fn get_if<T: Leaf>(&self, key: &str, check: impl Fn(&T) -> Result<(), String>) -> T {
        self.find(key, |value| read::<T>(key, value).and_then(|read| check(&read).map(|()| read)))
    }

    /// Returns what `read_checked` makes of the most specific value that it accepts, and
    /// reports the values that it refuses.
    fn find<T: Leaf>(&self, key: &str, read_checked: impl Fn(&Value) -> Result<T, String>) -> T {
        for level in &self.written {
            let Some(value) = level.table.get(key) else { continue };
            match read_checked(value) {
                Ok(read) => return read,
                Err(text) => self.problems.add(join(level.path, key), text, value.origin()),
            }
        }
        // A test proves that the compiled-in defaults can be read.
        self.defaults.get(key).and_then(|value| read(key, value).ok()).unwrap_or_default()
    }

    /// Returns the names and values of a table within the section, each with its full key. For each name,
    /// the most specific table wins.
    pub(super) fn entries(&self, key: &str) -> Vec<(&'a str, &'a Value, String)> {
        let mut entries: Vec<(&str, &Value, String)> = Vec::new();
        for level in &self.written {
            let Some(ValueKind::Table(table)) = level.table.get(key).map(|value| &value.kind) else { continue };
            let path = join(level.path, key);
            for (name, value) in table {
                if !entries.iter().any(|(there, ..)| there == name) {
                    entries.push((name, value, join(&path, name)));
                }
            }
        }
        entries
    }

    /// Whether the most specific table has the key.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.written.first().is_some_and(|level| level.table.contains_key(key))
    }

    /// Whether a key is written in any table except the compiled-in defaults, and not as `""`, which means the
    /// same as leaving the key out.
    pub(super) fn has_text(&self, key: &str) -> bool {
        self.written.iter().any(|level| level.table.contains_key(key)) && !self.is_empty_text(key)
    }

    /// Whether a key is written as `""`, which means the same as leaving the key out.
    pub(super) fn is_empty_text(&self, key: &str) -> bool {
        let value = self.written.iter().find_map(|level| level.table.get(key));
        value.is_some_and(|value| matches!(&value.kind, ValueKind::String(text) if text.is_empty()))
    }

    /// Returns the full name of a key of the most specific table, for a message.
    pub(super) fn key(&self, key: &str) -> String {
        join(self.written.first().map_or("", |level| level.path), key)
    }

    /// Reports a conflict between keys, at the first of them, in the most specific table that sets any of them:
    /// that table is the one to change.
    pub(super) fn report(&self, keys: &[&str], text: impl Into<String>) {
        let setting = self.written.iter().find(|level| keys.iter().any(|key| level.table.contains_key(*key)));
        let Some(level) = setting.or(self.written.last()) else { return };
        let key = keys.first().copied().unwrap_or_default();
        let of_keys = keys.iter().find_map(|key| level.table.get(*key));
        let origin = of_keys.map_or_else(|| origin_of(level.table), Value::origin);
        self.problems.add(join(level.path, key), text, origin);
    }

    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }
}

/// Returns the environment variable or partner file that created a section which the configuration file does not have
/// (the name of a variable is easily mistyped), or `None` if part of the section is in the configuration file.
fn origin_of(table: &Tree) -> Option<&str> {
    let origins: Option<Vec<&str>> = table
        .values()
        .map(|value| match &value.kind {
            ValueKind::Table(table) => origin_of(table),
            _ => value.origin(),
        })
        .collect();
    origins?.into_iter().min()
}

fn read<T: Leaf>(key: &str, value: &Value) -> Result<T, String> {
    let refused = || format!("found {}; write {}", shown(key, value), T::EXPECTED);
    if T::takes(&value.kind) { T::deserialize(value.clone()).map_err(|_| refused()) } else { Err(refused()) }
}

/// Returns a value in a short form for a message, masked if the key may hold a secret.
pub(super) fn shown(key: &str, value: &Value) -> String {
    match &value.kind {
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Nil => "nothing".to_owned(),
        _ if key == "token" || key == "signing_secret" => "*** (not shown)".to_owned(),
        ValueKind::String(text) => quote(text),
        other => other.to_string(),
    }
}

/// Returns text in a short form for a message, masked if it is a URL, whatever its key.
pub(super) fn quote(text: &str) -> String {
    const MAX_QUOTED: usize = 60;
    let text = if text.contains("://") { Cow::from(mask_url(text)) } else { Cow::from(text) };
    let short: String = text.chars().take(MAX_QUOTED).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FileFormat;
    use crate::config::format::parse;
    use crate::config::tree::Origin;

    fn tree(text: &str) -> Tree {
        parse(text, FileFormat::Toml, &Origin::main("x.toml"), &Problems::default())
    }

    #[test]
    fn a_bad_value_is_reported_where_it_stands_and_the_next_table_answers() {
        let (own, start, defaults) = (tree("burst = 'x'\nlinger = '1s'"), tree("burst = 7"), tree("burst = 1\nparallel = 3"));
        let problems = Problems::default();
        let levels = vec![Level { path: "partners.acme", table: &own }, Level { path: "partners.default", table: &start }];
        let section = Section::new(levels, &defaults, &problems);
        assert_eq!(section.get::<u32>("burst"), 7);
        assert_eq!(section.get::<usize>("parallel"), 3);
        assert_eq!(section.get::<Span>("linger").to_string(), "1s");
        section.report(&["burst", "linger"], "they do not fit");
        section.report(&["parallel"], "too few");
        let found: Vec<_> = problems.into_errors("").problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "partners.acme.burst: found \"x\"; write a whole number",
                "partners.acme.burst: they do not fit",
                "partners.default.parallel: too few",
            ]
        );
    }

    #[test]
    fn numbers_and_booleans_may_be_text_but_nothing_else_is_bent() {
        fn reads<T: Leaf>(literal: &str) -> bool {
            read::<T>("key", &tree(&format!("key = {literal}"))["key"]).is_ok()
        }
        assert!(reads::<u32>("20") && reads::<u32>("'20'") && reads::<bool>("true") && reads::<bool>("'true'"));
        for bad in ["1.7", "true", "'on'", "-1", "'1.0'", "[1]", "''", "4294967296"] {
            assert!(!reads::<u32>(bad), "{bad}");
        }
        assert!(!reads::<String>("5") && !reads::<bool>("'maybe'") && !reads::<Span>("10") && !reads::<Size>("{}"));
    }

    #[test]
    fn a_number_that_cannot_be_read_is_out_of_range() {
        let own = tree("a = -1\nb = 99999999999\nc = 18446744073709551616\nd = '-1'\ne = 1.5\nf = '5x'\ng = 4");
        let problems = Problems::default();
        let empty = Tree::new();
        let section = Section::new(vec![Level { path: "x", table: &own }], &empty, &problems);
        for key in ["a", "b", "c", "d", "e", "f", "g"] {
            section.get_in::<u32>(key, 1..=3);
        }
        let found: Vec<_> = problems.into_errors("").problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "x.a: -1 is out of range; set it to 1 to 3",
                "x.b: 99999999999 is out of range; set it to 1 to 3",
                "x.c: 18446744073709551616 is out of range; set it to 1 to 3",
                "x.d: \"-1\" is out of range; set it to 1 to 3",
                "x.e: found 1.5; write a whole number",
                "x.f: found \"5x\"; write a whole number",
                "x.g: 4 is out of range; set it to 1 to 3",
            ]
        );
    }

    #[test]
    fn values_are_shown_short_and_without_secrets() {
        let tree = tree(
            "token = 5\nurl = 'https://u:hush@h/p?k=hush'\nlong = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'",
        );
        assert_eq!(shown("token", &tree["token"]), "*** (not shown)");
        assert_eq!(shown("url", &tree["url"]), "\"https://***@h/p?***\"");
        assert_eq!(shown("long", &tree["long"]).chars().count(), 63);
    }
}
