//! Bounds a program before it is parsed. Parsing, compiling and running recurse for each operator of a chain, each step of a
//! path, each escape of a string, each argument and each level of brackets, and an overflow of the stack ends the process: at
//! a reload, a service that runs.

/// The largest number of operators, and of keywords that act like one. In a debug build, each takes up to 8 KiB of a
/// handler thread's stack.
pub const MAX_OPERATORS: usize = 2000;

/// The largest number of steps of paths and of arguments. In a debug build, each takes up to 2.5 KiB of a handler thread's
/// stack. An escape or interpolation in a string takes twice that, and counts as two.
pub const MAX_PARTS: usize = 6000;

/// The largest number of levels of brackets.
pub const MAX_BRACKETS: usize = 200;

/// The keywords that open another level without a bracket, or connect two terms.
const KEYWORDS: [&str; 10] = ["and", "as", "def", "elif", "foreach", "if", "label", "or", "reduce", "try"];

/// Returns the rest of the program from the place at which it goes beyond a bound, and which bound that is.
pub fn excess(program: &str) -> Option<(&str, String)> {
    let (mut operators, mut parts) = (0, 0);
    let mut brackets: usize = 0;
    // The level of brackets of each interpolation, `\(…)`, around this place.
    let mut interpolations: Vec<usize> = Vec::new();
    let mut in_text = false;
    let mut before = ' ';
    let mut rest = program;
    while let Some(letter) = rest.chars().next() {
        let mut length = letter.len_utf8();
        match letter {
            '\\' if in_text && rest[length..].starts_with('(') => {
                parts += 2;
                brackets += 1;
                interpolations.push(brackets);
                in_text = false;
                length += 1;
            }
            '\\' if in_text => {
                parts += 2;
                length += rest[length..].chars().next().map_or(0, char::len_utf8);
            }
            '"' => in_text = !in_text,
            _ if in_text => {}
            '#' => length = rest.find('\n').unwrap_or(rest.len()),
            '(' | '[' | '{' => {
                parts += usize::from(letter == '[');
                brackets += 1;
            }
            '.' | ';' => parts += 1,
            ')' | ']' | '}' => {
                in_text = interpolations.pop_if(|level| *level == brackets).is_some();
                brackets = brackets.saturating_sub(1);
            }
            // Of an operator of several letters, the first one counts.
            '=' | '/' if "=!<>|/+-*%".contains(before) => {}
            '|' | ',' | '/' | '+' | '-' | '*' | '%' | '=' | '!' | '<' | '>' => operators += 1,
            _ if letter.is_alphabetic() || letter == '_' => {
                length = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
                operators += usize::from(KEYWORDS.contains(&&rest[..length]));
            }
            _ => {}
        }
        if operators > MAX_OPERATORS {
            return Some((rest, format!("more than {MAX_OPERATORS} operators; use a handler in code")));
        }
        if parts > MAX_PARTS {
            return Some((rest, format!("more than {MAX_PARTS} parts of paths, strings and calls; use a handler in code")));
        }
        if brackets > MAX_BRACKETS {
            return Some((rest, format!("more than {MAX_BRACKETS} levels of brackets")));
        }
        before = letter;
        rest = &rest[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_recurses_counts_and_what_is_quoted_does_not() {
        let many = |text: &str| excess(&text.repeat(MAX_OPERATORS + 1)).is_some();
        for counted in
            [".|", ".,", "-", ".+", ".//", ".==", ".!=", ".<=", ".=", ".|=", " . or ", "if ", "try ", ". as ", "def f:"]
        {
            assert!(many(counted), "{counted}");
        }
        for free in [".a", "[]", "(.)", " # a, b\n", "\"a|b,c\" ", "\"\\\",\" ", " orange "] {
            assert!(!many(free), "{free}");
        }
        let many_parts = |text: &str| excess(&text.repeat(MAX_PARTS / 2 + 1)).is_some();
        for counted in [".a.b", "[][]", "; ;", ".[0]", "\"\\n\"", "\"\\(1)\""] {
            assert!(many_parts(counted), "{counted}");
        }
        for free in [".a", "{}", "(1)", " # .a.b\n", "\".a.b\"", "?"] {
            assert!(!many_parts(free), "{free}");
        }
        // The first letter alone counts.
        assert!(excess(&"//=".repeat(MAX_OPERATORS)).is_none());
    }

    #[test]
    fn interpolations_are_programs_within_a_text() {
        let nested = |levels: usize| "\"\\(".repeat(levels) + "." + &")\"".repeat(levels);
        assert!(excess(&nested(MAX_BRACKETS)).is_none());
        assert!(excess(&nested(MAX_BRACKETS + 1)).is_some());
        let (rest, _) =
            excess(&format!("\"|\\([.,{}])|\"", ".,".repeat(MAX_OPERATORS))).map(|(rest, what)| (rest.len(), what)).unwrap();
        assert_eq!(rest, ",.,])|\"".len() - 2, "the last comma");
        assert!(excess(&"\"|\\(.)|\" ".repeat(MAX_OPERATORS)).is_none());
    }
}
