//! What is wrong with a configuration: every problem with its key, all at once.
//!
//! A problem never holds a value that may be secret; whoever adds one sees to that (`section` masks by key).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// As TOML writes it (`queues.stock.concurrency`, `partners."acme.com".rate`), or a place in a file (`octoconf.toml:12:5`).
    pub key: String,
    /// What is wrong; what to do.
    pub text: String,
    /// The environment variable or the partner file that said so; `None`: the configuration file.
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

/// A configuration that is refused: at least one problem, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {} {}{}", problems.len(), if problems.len() == 1 { "problem" } else { "problems" }, lines(problems))]
pub struct ConfigErrors {
    /// The file, or what stands for it.
    pub source_name: String,
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Collects problems while a configuration is read. Told twice is kept once: a bad default is met again by every partner.
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

/// `parent.name`, the name quoted where TOML wants that.
pub(super) fn join(parent: &str, name: &str) -> String {
    let name = toml_key(name);
    if parent.is_empty() { name } else { format!("{parent}.{name}") }
}

/// A name as a TOML key: bare where it may be, else quoted.
pub(super) fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { name.to_owned() } else { toml_string(name) }
}

/// Text as a TOML basic string, on one line.
pub(super) fn toml_string(text: &str) -> String {
    // JSON's escapes are TOML's, but for DEL, which only TOML forbids.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// `did you mean X?`, or what there is to choose from where nothing is near.
pub(super) fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(name, known.clone()) {
        return format!("did you mean {near}?");
    }
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    if known.is_empty() { "there is none to choose from".to_owned() } else { format!("known are {}", known.join(", ")) }
}

/// The known name that a mistyped one is for; `None` where none is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let near = known
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        // A third of the letters wrong is a slip; more is another word.
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
