//! Parses INI into a raw tree, in which every value is text and a section's name has one or two parts.
//!
//! The text is read here, line by line, and not by the `rust-ini` crate, because that crate joins lines that end in a
//! backslash, takes a line without `=` into the key of the next line, and quotes the offending text in its errors. All
//! of that does harm when values are paths, jq programs and secrets.
//!
//! The format: `[SECTION]` or `[SECTION.NAME]`, split at the first dot only, where a name in double quotes is a JSON string,
//! the form in which accounts are shown that could not be told apart otherwise; `KEY = VALUE`; in a partner's section
//! `headers.NAME = VALUE`; lines that start with `;` or `#` are comments. A value is taken literally, backslashes
//! included, except that one pair of quotes around it (for spaces at its ends) is removed. It cannot hold a line break.

use config::{Map, Value, ValueKind};

use super::problem::Problems;
use super::tree::{Origin, insert_at};
use crate::plain::meant;

/// Parses the lines that are valid and adds a problem for each line that is not, without ever quoting a value.
pub(super) fn parse(text: &str, origin: &Origin<'_>, problems: &Problems) -> Map<String, Value> {
    let mut reader = Reader { tree: Map::new(), section: Some(Vec::new()), seen: Map::new(), origin, problems };
    for (index, line) in text.lines().enumerate() {
        reader.line(index + 1, line.trim());
    }
    reader.tree
}

struct Reader<'a> {
    tree: Map<String, Value>,
    /// The section that the lines belong to; `None` below a header that cannot be read.
    section: Option<Vec<String>>,
    /// The number of the line in which each section or key first appeared.
    seen: Map<Vec<String>, usize>,
    origin: &'a Origin<'a>,
    problems: &'a Problems,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &str) {
        if line.is_empty() || line.starts_with([';', '#']) {
            return;
        }
        if let Some(rest) = line.strip_prefix('[') {
            return self.header(number, rest);
        }
        let Some((key, value)) =
            line.split_once('=').map(|(key, value)| (key.trim(), value.trim())).filter(|(key, _)| !key.is_empty())
        else {
            return self.problem(number, "neither [SECTION], nor KEY = VALUE, nor a comment; comments start with ; or #");
        };
        let Some(mut path) = self.section.clone() else { return };
        match key.split_once('.') {
            Some(("headers", name)) => path.extend(["headers".to_owned(), name.to_owned()]),
            _ => path.push(key.to_owned()),
        }
        if self.is_new(number, &path) {
            let value = Value::new(self.origin.name().as_ref(), ValueKind::String(unquote(value).to_owned()));
            if !insert_at(&mut self.tree, &path, value) {
                self.problem(number, format!("{} is a section above; a key cannot have its name", path.join(".")));
            }
        }
    }

    fn header(&mut self, number: usize, rest: &str) {
        let Some(name) = rest.strip_suffix(']') else {
            self.section = None;
            return self.problem(number, "a section that does not end in ]; nothing may follow it on its line");
        };
        let path = match name.split_once('.') {
            Some((section, name)) => vec![section.trim().to_owned(), meant(name.trim())],
            None => vec![name.trim().to_owned()],
        };
        self.section = Some(path.clone());
        if self.is_new(number, &path) {
            let table = Value::new(self.origin.name().as_ref(), ValueKind::Table(Map::new()));
            if !insert_at(&mut self.tree, &path, table) {
                self.problem(number, format!("{} is a key above; a section cannot have its name", path.join(".")));
            }
        }
    }

    fn is_new(&mut self, number: usize, path: &[String]) -> bool {
        if let Some(first) = self.seen.get(path) {
            let text = format!("{} stands in line {first} already; keep one of them", path.join("."));
            self.problem(number, text);
            return false;
        }
        self.seen.insert(path.to_vec(), number);
        true
    }

    fn problem(&self, line: usize, text: impl Into<String>) {
        self.problems.add(format!("{}:{line}", self.origin.file()), text, None);
    }
}

/// Removes one pair of quotes, unless there are more quotes of the same kind inside (a jq program may both
/// start and end with a string).
fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Map<String, Value> {
        let problems = Problems::default();
        let tree = parse(text, &Origin::main("x.ini"), &problems);
        assert!(problems.is_empty(), "{:?}", problems.into_errors(""));
        tree
    }

    fn at(tree: &Map<String, Value>, path: &[&str]) -> String {
        let (last, sections) = path.split_last().unwrap();
        let table = sections.iter().fold(tree.clone(), |table, name| table[*name].clone().into_table().unwrap());
        table[*last].clone().into_string().unwrap()
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let tree =
            read("top = 1\r\n[a]\r\n x = C:\\new\\\r\ny = \"b\" + \"c\"\nz='  d '\n ; note\n# note\nempty =\nhash = a # b ; c\n");
        assert_eq!(at(&tree, &["top"]), "1");
        assert_eq!(at(&tree, &["a", "x"]), "C:\\new\\");
        assert_eq!(at(&tree, &["a", "y"]), "\"b\" + \"c\"");
        assert_eq!(at(&tree, &["a", "z"]), "  d ");
        assert_eq!(at(&tree, &["a", "empty"]), "");
        assert_eq!(at(&tree, &["a", "hash"]), "a # b ; c");
    }

    /// The behaviour that conf/octoconf.ini and defaults.toml document.
    #[test]
    fn one_pair_of_quotes_is_taken_off() {
        let tree = read("a = \"text\"\nb = '\"text\"'\nc = \"\"text\"\"\nd = \"'text'\"\ne = \"it's\"\nf = \"\ng = ''\n");
        let values = ["text", "\"text\"", "\"\"text\"\"", "'text'", "it's", "\"", ""];
        for (key, value) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().zip(values) {
            assert_eq!(at(&tree, &[key]), value, "{key}");
        }
    }

    #[test]
    fn keys_below_a_header_that_cannot_be_read_are_not_those_of_the_section_before() {
        let problems = Problems::default();
        let tree = parse("[a]\nx = 1\n[b] ; why\ny = 2\nnothing\n[c]\nz = 3\n", &Origin::main("x.ini"), &problems);
        let lines: Vec<_> = problems.into_errors("").problems.into_iter().map(|problem| problem.key).collect();
        assert_eq!(lines, ["x.ini:3", "x.ini:5"]);
        assert_eq!((tree.len(), at(&tree, &["a", "x"]), at(&tree, &["c", "z"])), (2, "1".into(), "3".into()));
        assert_eq!(tree["a"].clone().into_table().unwrap().len(), 1);
    }

    #[test]
    fn a_section_splits_at_its_first_dot_only() {
        let tree = read("[partners.acme.com]\nrate = 5/s\nheaders.X-Key.2 = v\n[partners.Ünï [x] y]\nrate = 1/s\n");
        assert_eq!(at(&tree, &["partners", "acme.com", "rate"]), "5/s");
        assert_eq!(at(&tree, &["partners", "acme.com", "headers", "X-Key.2"]), "v");
        assert_eq!(at(&tree, &["partners", "Ünï [x] y", "rate"]), "1/s");
    }

    /// As TOML writes a name with a dot, and as views show an account of which a part would not be seen.
    #[test]
    fn a_name_in_quotes_is_the_text_of_a_json_string() {
        let tree = read("[partners.\"acme.com\"]\na = 1\n[partners.\" a\\n\\u202eb\"]\na = 2\n[partners.\"acme\" inc]\na = 3\n");
        assert_eq!(at(&tree, &["partners", "acme.com", "a"]), "1");
        assert_eq!(at(&tree, &["partners", " a\n\u{202e}b", "a"]), "2");
        assert_eq!(at(&tree, &["partners", "\"acme\" inc", "a"]), "3");
    }

    #[test]
    fn each_line_that_cannot_be_read_is_named_without_its_text() {
        let problems = Problems::default();
        let text = "[a]\nx = 1\nhush-hush\nx = 2\n[a]\n[b\n= hush-hush\n[a.x]\n";
        parse(text, &Origin::main("x.ini"), &problems);
        let errors = problems.into_errors("x.ini");
        let lines: Vec<_> = errors.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(lines, ["x.ini:3", "x.ini:4", "x.ini:5", "x.ini:6", "x.ini:7", "x.ini:8"]);
        assert!(errors.problems[1].text.contains("a.x stands in line 2"), "{errors}");
        assert!(!errors.to_string().contains("hush-hush"));
    }
}
