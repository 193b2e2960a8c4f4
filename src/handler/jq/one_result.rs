//! Decides whether a jq program evidently returns exactly one result for any input (or an
//! error, which rejects the message).
//!
//! Only the plainest forms are recognised: `.`, a path of names, and an object of such values. Every other program may
//! return any number of results, as far as this module knows.

/// The maximum depth of objects within objects.
const MAX_DEPTH: usize = 16;

/// Whether the program is of one of the plain forms, and so returns one result.
pub fn gives_one_result(program: &str) -> bool {
    value(program, 0).is_some_and(|rest| rest.trim_start().is_empty())
}

/// Skips a plain value and returns the text that follows, or `None` if the text does not start with a plain value. The
/// same holds for the functions below.
fn value(text: &str, depth: usize) -> Option<&str> {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix('{') {
        return object(rest, depth + 1);
    }
    if let Some(rest) = text.strip_prefix('"') {
        return literal(rest);
    }
    if let Some(rest) = text.strip_prefix("$message") {
        return Some(names(rest));
    }
    if let Some(rest) = text.strip_prefix('.') {
        return Some(names(name(rest).unwrap_or(rest)));
    }
    let rest = name(text)?;
    // Any other word is a function, which may return no result or several.
    let word = text.strip_suffix(rest)?;
    matches!(word, "null" | "true" | "false").then_some(rest)
}

/// Skips the rest of an object, from behind its opening brace to behind its closing one.
fn object(text: &str, depth: usize) -> Option<&str> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut rest = text.trim_start();
    if let Some(end) = rest.strip_prefix('}') {
        return Some(end);
    }
    loop {
        rest = rest.strip_prefix('"').map_or_else(|| name(rest), literal)?.trim_start();
        if let Some(of) = rest.strip_prefix(':') {
            rest = value(of, depth)?.trim_start();
        }
        if let Some(end) = rest.strip_prefix('}') {
            return Some(end);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// Skips the rest of a string, from behind its opening quote to behind its closing one. Strings with a backslash are
/// refused, since a backslash may start an embedded program.
fn literal(text: &str) -> Option<&str> {
    let (inner, rest) = text.split_once('"')?;
    (!inner.contains('\\')).then_some(rest)
}

/// Skips any number of `.name`.
fn names(mut text: &str) -> &str {
    while let Some(rest) = text.strip_prefix('.').and_then(name) {
        text = rest;
    }
    text
}

fn name(text: &str) -> Option<&str> {
    let text = text.strip_prefix(|c: char| c.is_ascii_alphabetic() || c == '_')?;
    Some(text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_programs_give_one_result() {
        for program in [
            ".",
            " .account ",
            ".a.b_1.c",
            "{}",
            "{sku: .sku, price: .unit_price}",
            "{sku, \"kind\": \"stock\", of: {id: $message.id, whole: ., none: null}}",
        ] {
            assert!(gives_one_result(program), "{program}");
        }
    }

    #[test]
    fn of_any_other_program_nothing_is_said() {
        for program in [
            "",
            "..",
            ".[]",
            ".items[]",
            ".a?",
            ".a, .b",
            ".a // empty",
            ". | .[]",
            "empty",
            "{a: .b[]}",
            "{a: empty}",
            "{a: (.b, .c)}",
            "{(.a[]): 1}",
            "{a: \"\\(.b[])\"}",
            "{a: .b",
            "{a: .b}[]",
            "$messages",
            "def f: 1, 2; f",
        ] {
            assert!(!gives_one_result(program), "{program}");
        }
        assert!(!gives_one_result(&"{a:".repeat(100_000)));
    }
}
