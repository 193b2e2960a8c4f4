//! Whether a jq program evidently gives one result, whatever it is given: an error, which rejects the message, left aside.
//!
//! Only the plainest forms are known: `.`, a path of names, an object of such values. Of any other program nothing is said.

/// Objects within objects.
const DEEPEST: usize = 16;

/// Whether the program is one of the plain forms.
pub(super) fn gives_one(program: &str) -> bool {
    value(program, 0).is_some_and(|rest| rest.trim_start().is_empty())
}

/// What follows a plain value, here and below; `None`: it is none.
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
    // Any other word is a function, which may give nothing, or much.
    let word = text.strip_suffix(rest)?;
    matches!(word, "null" | "true" | "false").then_some(rest)
}

/// From behind the brace to behind the one that closes it.
fn object(text: &str, depth: usize) -> Option<&str> {
    if depth > DEEPEST {
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

/// From behind the quote to behind the one that closes it. A backslash may begin a program within.
fn literal(text: &str) -> Option<&str> {
    let (inner, rest) = text.split_once('"')?;
    (!inner.contains('\\')).then_some(rest)
}

/// Past any number of `.name`.
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
            assert!(gives_one(program), "{program}");
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
            assert!(!gives_one(program), "{program}");
        }
        assert!(!gives_one(&"{a:".repeat(100_000)));
    }
}
