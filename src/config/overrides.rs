//! The keys that environment variables set.

use config::{Map, Value, ValueKind};

use super::problem::{Problems, join};
use super::tree::{self, Tree, insert_at};
use crate::environment::Environment;

const PREFIX: &str = "OCTOCONF_";
/// The number of parts of the longest key, `partners.ACCOUNT.headers.NAME`.
const MAX_PARTS: usize = 4;

/// Returns the keys that variables override: `OCTOCONF_QUEUES__STOCK__CONCURRENCY=20`
/// sets `queues.stock.concurrency`.
///
/// `config::Environment` is not used: it would also split at dots, which an account may hold, and it does not
/// keep the name of the variable.
pub(super) fn overrides(environment: &Environment, problems: &Problems) -> Map<String, Value> {
    let mut tree = Map::new();
    for (name, value) in environment.iter() {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        if path.starts_with('_') && !path.trim_start_matches('_').contains("__") {
            let text =
                "a variable sets a key of a section; write OCTOCONF_SECTION__KEY, and a key outside of sections in the file";
            problems.add(path.trim_start_matches('_').to_lowercase(), text, Some(name));
            continue;
        }
        if !path.contains("__") {
            continue;
        }
        let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        let Some(value) = value else {
            problems.add(path.join("."), "the value is not UTF-8; set it to text", Some(name));
            continue;
        };
        if let Some(key) = path.get(..MAX_PARTS).filter(|key| key.len() < path.len()) {
            // Only the start of the key is shown, since a variable's name may have any length.
            problems.add(key.join("."), "a variable goes on below this key; no key has so many parts", None);
            continue;
        }
        if path.iter().any(String::is_empty) {
            let text = "a part of the key is empty; write SECTION__NAME__KEY with two underscores between the parts";
            problems.add(path.join("."), text, Some(name));
            continue;
        }
        if !insert_at(&mut tree, &path, Value::new(Some(&name.to_owned()), ValueKind::String(value.to_owned()))) {
            problems.add(path.join("."), "another variable sets a key above or below this one; keep one of them", Some(name));
        }
    }
    tree
}

/// Returns a warning for each handler and partner that only variables make while the files have one whose name differs in
/// case alone. The keys of variables are in lower case, so they do not reach that one. A queue needs no warning: made
/// by one variable, it lacks a handler.
pub(super) fn missed(overrides: &Tree, files: [&Tree; 2]) -> Vec<String> {
    let mut warnings = Vec::new();
    for kind in ["handlers", "partners"] {
        let written: Vec<&String> = files.into_iter().flat_map(|file| tree::table(file, &[kind]).keys()).collect();
        for name in tree::table(overrides, &[kind]).keys().filter(|name| !written.contains(name)) {
            if let Some(meant) = written.iter().find(|meant| meant.to_lowercase() == *name) {
                let (made, meant) = (join(kind, name), join(kind, meant));
                warnings.push(format!(
                    "{made}: made by a variable, which does not reach {meant}, since its keys are in lower case; set the key in the file"
                ));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_with_two_underscores_are_keys() {
        let environment = Environment::from_iter([
            ("OCTOCONF_CONFIG", "/etc/x.toml"),
            ("OCTOCONF_ENGINE__LOG", "debug"),
            ("OCTOCONF_PARTNERS__ACME.COM__RATE", "5/s"),
            ("HOME__X", "1"),
        ]);
        let problems = Problems::default();
        let tree = overrides(&environment, &problems);
        assert!(problems.is_empty());
        assert_eq!(tree.len(), 2);
        let engine = tree["engine"].clone().into_table().unwrap();
        assert_eq!(engine["log"].clone().into_string().unwrap(), "debug");
        assert_eq!(engine["log"].origin(), Some("OCTOCONF_ENGINE__LOG"));
        let partners = tree["partners"].clone().into_table().unwrap();
        assert!(partners.contains_key("acme.com"), "an account keeps its dots");
    }

    #[test]
    fn variables_that_cannot_be_keys_are_problems() {
        let environment = Environment::from_iter([
            ("OCTOCONF_ENGINE____LOG", "debug"),
            ("OCTOCONF_A__B", "1"),
            ("OCTOCONF_A__B__C", "1"),
            ("OCTOCONF_PARTNERS__A__HEADERS__B__C", "1"),
            ("OCTOCONF__PARTNERS_DIR", "/nope"),
            ("OCTOCONF__ANYTHING", "1"),
        ]);
        let problems = Problems::default();
        overrides(&environment, &problems);
        let keys: Vec<_> = problems.into_errors("").problems.into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["a.b.c", "anything", "engine..log", "partners.a.headers.b", "partners_dir"]);
    }

    #[test]
    fn a_value_that_is_not_text_is_a_problem_and_no_panic() {
        use std::os::unix::ffi::OsStringExt;
        let bad = std::ffi::OsString::from_vec(vec![0xff]);
        let environment = Environment::from_os([("OCTOCONF_ENGINE__LOG".into(), bad)].into_iter());
        let problems = Problems::default();
        overrides(&environment, &problems);
        assert_eq!(problems.into_errors("").problems[0].key, "engine.log");
    }
}
