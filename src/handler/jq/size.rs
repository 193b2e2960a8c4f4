//! Bounds a program before it is parsed. Parsing, compiling and running recurse for each operator of a chain, each step of a
//! path, each escape of a string, each argument and each level of brackets, and an overflow of the stack ends the process: at
//! a reload, a service that runs.

/// What a program may have at most, for the stack of the threads that run it.
pub struct Bounds {
    /// Operators, and keywords that act like one. In a debug build, each takes up to 8 KiB of the stack.
    pub operators: usize,
    /// Steps of paths, and arguments. In a debug build, each takes up to 2.5 KiB of the stack. An escape or interpolation in
    /// a string takes twice that, and counts as two.
    pub parts: usize,
    /// Levels of brackets.
    pub brackets: usize,
}

/// The bounds of a pipeline, which runs on a handler's thread.
pub const PIPELINE: Bounds = Bounds { operators: 2000, parts: 6000, brackets: 200 };

/// The bounds of the path of a group, which runs on the thread of whoever sends. It may have no more than 2 MiB.
pub const GROUP: Bounds = Bounds { operators: 100, parts: 200, brackets: 20 };

/// The keywords that open another level without a bracket, or connect two terms.
const KEYWORDS: [&str; 10] = ["and", "as", "def", "elif", "foreach", "if", "label", "or", "reduce", "try"];

/// Returns the rest of the program from the place at which it goes beyond a bound, and which bound that is.
pub fn excess<'a>(program: &'a str, most: &Bounds) -> Option<(&'a str, String)> {
    let (mut operators, mut parts) = (0, 0);
    let mut brackets: usize = 0;
    // The level of brackets of each interpolation, `\(…)`, around this place.
    let mut interpolations: Vec<usize> = Vec::new();
    let mut in_text = false;
    let mut before = ' ';
    let mut rest = program;
    while let Some(letter) = rest.chars().next() {
        let mut length = letter.len_utf8();
        let behind = rest.get(length..).unwrap_or_default();
        match letter {
            '\\' if in_text && behind.starts_with('(') => {
                parts += 2;
                brackets += 1;
                interpolations.push(brackets);
                in_text = false;
                length += 1;
            }
            '\\' if in_text => {
                parts += 2;
                length += behind.chars().next().map_or(0, char::len_utf8);
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
                operators += usize::from(rest.get(..length).is_some_and(|word| KEYWORDS.contains(&word)));
            }
            _ => {}
        }
        let counts = [
            (operators, most.operators, "operators"),
            (parts, most.parts, "parts of paths, strings and calls"),
            (brackets, most.brackets, "levels of brackets"),
        ];
        if let Some((_, most, what)) = counts.into_iter().find(|(count, most, _)| count > most) {
            return Some((rest, format!("more than {most} {what}; use a simpler program")));
        }
        before = letter;
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excess(program: &str) -> Option<(&str, String)> {
        super::excess(program, &PIPELINE)
    }

    #[test]
    fn what_recurses_counts_and_what_is_quoted_does_not() {
        let many = |text: &str| excess(&text.repeat(PIPELINE.operators + 1)).is_some();
        for counted in
            [".|", ".,", "-", ".+", ".//", ".==", ".!=", ".<=", ".=", ".|=", " . or ", "if ", "try ", ". as ", "def f:"]
        {
            assert!(many(counted), "{counted}");
        }
        for free in [".a", "[]", "(.)", " # a, b\n", "\"a|b,c\" ", "\"\\\",\" ", " orange "] {
            assert!(!many(free), "{free}");
        }
        let many_parts = |text: &str| excess(&text.repeat(PIPELINE.parts / 2 + 1)).is_some();
        for counted in [".a.b", "[][]", "; ;", ".[0]", "\"\\n\"", "\"\\(1)\""] {
            assert!(many_parts(counted), "{counted}");
        }
        for free in [".a", "{}", "(1)", " # .a.b\n", "\".a.b\"", "?"] {
            assert!(!many_parts(free), "{free}");
        }
        // The first letter alone counts.
        assert!(excess(&"//=".repeat(PIPELINE.operators)).is_none());
    }

    #[test]
    fn interpolations_are_programs_within_a_text() {
        let nested = |levels: usize| "\"\\(".repeat(levels) + "." + &")\"".repeat(levels);
        assert!(excess(&nested(PIPELINE.brackets)).is_none());
        assert!(excess(&nested(PIPELINE.brackets + 1)).is_some());
        let (rest, _) =
            excess(&format!("\"|\\([.,{}])|\"", ".,".repeat(PIPELINE.operators))).map(|(rest, what)| (rest.len(), what)).unwrap();
        assert_eq!(rest, ",.,])|\"".len() - 2, "the last comma");
        assert!(excess(&"\"|\\(.)|\" ".repeat(PIPELINE.operators)).is_none());
    }
}
