//! Collects what is wrong with a configuration: every problem, each with its key, reported all at once.
//!
//! A problem must never hold a value that may be secret. The code that adds a problem is responsible for that
//! (`section` masks values by key).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// One thing to correct in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The key as TOML writes it (`queues.stock.concurrency`, `partners."acme.com".rate`), or a position in a
    /// file (`octoconf.toml:12:5`).
    pub key: String,
    /// What is wrong, and what to do about it.
    pub text: String,
    /// The environment variable or the partner file that holds the value, or `None` for the configuration file.
    pub origin: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)?;
        match &self.origin {
            Some(origin) => write!(f, " (from {origin})"),
            None => Ok(()),
        }
    }
}

/// The problems for which a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {} {}{}", problems.len(), if problems.len() == 1 { "problem" } else { "problems" }, lines(problems))]
pub struct ConfigErrors {
    /// The name of the configuration file, or the name given in its place.
    pub source_name: String,
    /// The problems, at least one, in the order of their keys.
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Collects problems while a configuration is read. A problem that is added twice is kept once, since every partner
/// that inherits a bad default adds the same problem again.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<BTreeSet<Problem>>,
}

impl Problems {
    pub(super) fn add(&self, key: impl Into<String>, text: impl Into<String>, origin: Option<&str>) {
        let problem = Problem { key: key.into(), text: text.into(), origin: origin.map(str::to_owned) };
        self.found.borrow_mut().insert(problem);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    pub(super) fn into_errors(self, source_name: &str) -> ConfigErrors {
        ConfigErrors { source_name: source_name.to_owned(), problems: self.found.into_inner().into_iter().collect() }
    }
}

/// Returns `parent.name`, with the name quoted if TOML requires quotes.
pub(super) fn join(parent: &str, name: &str) -> String {
    let name = toml_key(name);
    if parent.is_empty() { name } else { format!("{parent}.{name}") }
}

/// Returns a name as a TOML key: bare if TOML allows that, quoted otherwise.
pub(super) fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { name.to_owned() } else { toml_string(name) }
}

/// Returns text as a TOML basic string on one line.
pub(super) fn toml_string(text: &str) -> String {
    // The escapes of JSON are valid in TOML too. Only DEL differs: TOML alone forbids it unescaped.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// Returns `did you mean X?` if a known name is near, and otherwise a list of the known names.
pub(super) fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(name, known.clone()) {
        return format!("did you mean {near}?");
    }
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    if known.is_empty() { "there is none to choose from".to_owned() } else { format!("known are {}", known.join(", ")) }
}

/// Returns the known name that a mistyped name most likely stands for, or `None` if no known name is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let near = known
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        // A third of the letters may be wrong in a typing error; a name that differs in more is another word.
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min();
    near.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_distant_one_is_not() {
        let known = || ["concurrency", "pollers", "name"].into_iter();
        assert_eq!(suggest("concurency", known()), "did you mean concurrency?");
        assert_eq!(suggest("NAME", known()), "did you mean name?");
        assert_eq!(suggest("colour", known()), "known are concurrency, name, pollers");
    }

    #[test]
    fn keys_are_quoted_where_toml_wants_it() {
        assert_eq!(join("partners", "acme"), "partners.acme");
        assert_eq!(join("partners", "acme.com"), "partners.\"acme.com\"");
        assert_eq!(join("partners", "a\n\"b\"\u{7f}"), "partners.\"a\\n\\\"b\\\"\\u007F\"");
        assert_eq!(join("", ""), "\"\"");
    }

    #[test]
    fn a_problem_told_twice_is_kept_once() {
        let problems = Problems::default();
        problems.add("b", "bad", None);
        problems.add("a", "bad", Some("OCTOCONF_A__B"));
        problems.add("b", "bad", None);
        let errors = problems.into_errors("x.toml");
        assert_eq!(errors.to_string(), "x.toml: 2 problems\n  a: bad (from OCTOCONF_A__B)\n  b: bad");
    }
}
