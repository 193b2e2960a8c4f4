//! Parses the text of a TOML or INI file into a raw tree.

use config::{Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::problem::{Problems, join};
use super::tree::{Origin, Tree};
use super::{FileFormat, ini};

/// Parses the text of a file, without its byte order mark if it starts with one.
pub(super) fn parse(text: &str, kind: FileFormat, origin: &Origin<'_>, problems: &Problems) -> Tree {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tree = match kind {
        FileFormat::Toml => parse_toml(text, origin, problems),
        FileFormat::Ini => ini::parse(text, origin, problems),
    };
    lower_header_names(&mut tree, problems);
    tree
}

fn parse_toml(text: &str, origin: &Origin<'_>, problems: &Problems) -> Tree {
    match DeTable::parse(text) {
        Ok(table) => from_toml(table.into_inner(), "", origin, problems),
        Err(error) => {
            // The parser's own message would quote the line, which may hold a secret.
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let what = error.message().lines().next().unwrap_or_default();
            problems.add(format!("{}:{line}:{column}", origin.file()), format!("not TOML: {what}"), None);
            Tree::new()
        }
    }
}

fn from_toml(table: DeTable<'_>, path: &str, origin: &Origin<'_>, problems: &Problems) -> Tree {
    table
        .into_iter()
        .map(|(key, value)| {
            let key = key.into_inner().into_owned();
            let path = join(path, &key);
            (key, from_toml_value(value.into_inner(), &path, origin, problems))
        })
        .collect()
}

/// Returns a number of any size, so that the reader of the key can report the range that the key allows.
fn whole_number(digits: &str, radix: u32) -> ValueKind {
    let wide = || i128::from_str_radix(digits, radix).map(ValueKind::I128);
    let number = i64::from_str_radix(digits, radix).map(ValueKind::I64).or_else(|_| wide());
    number.unwrap_or_else(|_| ValueKind::Float(digits.parse().unwrap_or(f64::INFINITY)))
}

fn from_toml_value(value: DeValue<'_>, path: &str, origin: &Origin<'_>, problems: &Problems) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.into_owned()),
        DeValue::Integer(number) => whole_number(number.as_str(), number.radix()),
        DeValue::Float(number) => number.as_str().parse().map_or(ValueKind::Nil, ValueKind::Float),
        DeValue::Boolean(value) => ValueKind::Boolean(value),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(values) => ValueKind::Array(
            values.into_iter().map(|value| from_toml_value(value.into_inner(), path, origin, problems)).collect(),
        ),
        DeValue::Table(table) => ValueKind::Table(from_toml(table, path, origin, problems)),
    };
    Value::new(origin.name().as_ref(), kind)
}

/// Converts the names of headers to lower case: header names are case-insensitive (RFC 9110, section 5.1), so a layer
/// must override a header whatever case it uses.
pub(super) fn lower_header_names(tree: &mut Tree, problems: &Problems) {
    let Some(ValueKind::Table(partners)) = tree.get_mut("partners").map(|value| &mut value.kind) else { return };
    for (account, partner) in partners {
        let ValueKind::Table(partner) = &mut partner.kind else { continue };
        let Some(ValueKind::Table(headers)) = partner.get_mut("headers").map(|value| &mut value.kind) else { continue };
        let mut lower = Tree::new();
        for (name, value) in headers.drain() {
            let origin = value.origin().map(str::to_owned);
            if lower.insert(name.to_lowercase(), value).is_some() {
                let key = join(&join(&join("partners", account), "headers"), &name.to_lowercase());
                problems.add(key, "stands twice, in different case; keep one of them", origin.as_deref());
            }
        }
        *headers = lower;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::merge;

    fn read(text: &str) -> (Tree, Vec<String>) {
        let problems = Problems::default();
        let tree = parse(text, FileFormat::Toml, &Origin::main("x.toml"), &problems);
        (tree, problems.into_errors("").problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn later_layers_win_key_by_key_and_dots_in_keys_stay() {
        let (below, _) =
            read("'a.b' = 1\n[partners.'x.y[0]']\nrate = '1/s'\nburst = 2\n[partners.'x.y[0]'.headers]\nX-A = '1'\n");
        let (above, _) = read("[partners.'x.y[0]']\nrate = '2/s'\n[partners.'x.y[0]'.headers]\nx-a = '2'\n[engine]\n");
        let merged = merge([below, above]).unwrap();
        assert!(merged.contains_key("a.b") && merged.contains_key("engine"));
        let partner = merged["partners"].clone().into_table().unwrap()["x.y[0]"].clone().into_table().unwrap();
        assert_eq!(partner["rate"].clone().into_string().unwrap(), "2/s");
        assert_eq!(partner["burst"].clone().into_int().unwrap(), 2);
        let headers = partner["headers"].clone().into_table().unwrap();
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["x-a"].clone().into_string().unwrap(), "2");
    }

    #[test]
    fn a_syntax_error_names_its_place_and_quotes_nothing() {
        let (_, problems) = read("[admin]\r\ntoken = \"hush-hush\n");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("x.toml:2:"), "{problems:?}");
        assert!(!problems[0].contains("hush-hush"));
    }

    #[test]
    fn headers_that_differ_in_case_only_are_a_problem() {
        let (_, problems) = read("[partners.x.headers]\nA-b = '1'\na-B = '2'\n");
        assert_eq!(problems, ["partners.x.headers.a-b: stands twice, in different case; keep one of them"]);
    }

    #[test]
    fn a_number_beyond_64_bits_is_read_for_whoever_knows_its_bounds() {
        let kind = |text: &str| read(&format!("a = {text}\n")).0["a"].kind.clone();
        assert_eq!(kind("-5"), ValueKind::I64(-5));
        assert_eq!(kind("0xffff_ffff_ffff_ffff"), ValueKind::I128(u64::MAX.into()));
        assert!(matches!(kind(&"9".repeat(60)), ValueKind::Float(number) if number > 1e59));
    }
}
