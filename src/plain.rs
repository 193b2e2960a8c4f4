//! Makes foreign text (accounts, reasons, payloads) safe for a terminal: no character may move the cursor, change the
//! direction of the line or hide other text.
//!
//! Pure.

use std::fmt;
use std::ops::RangeInclusive;

/// The characters of Unicode's category Cf, and the two line separators, that show nothing themselves but change
/// how others are shown: direction marks and overrides, joiners, tags. Those that are drawn, such as the Arabic
/// number signs, are not included.
const FORMATS: [RangeInclusive<char>; 10] = [
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e007f}',
];

/// Whether a terminal would act on the character instead of showing it.
fn is_obeyed(c: char) -> bool {
    c.is_control() || FORMATS.iter().any(|range| range.contains(&c))
}

/// Returns the text on one line, with a space for each character on which a terminal would act.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).collect()
}

/// Displays the text with Rust's escapes for the characters on which a terminal would act, so that nothing is lost.
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| if is_obeyed(c) { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_a_space_or_an_escape_and_all_else_stays() {
        for c in "\0\n\r\t\u{1b}\u{7f}\u{9b}\u{202a}\u{202e}\u{2066}\u{2069}\u{200b}\u{200f}\u{2028}\u{feff}\u{e0041}".chars() {
            assert_eq!(one_line(&format!("a{c}b")), "a b", "{c:?}");
            assert_eq!(Visible(&format!("a{c}b")).to_string(), format!("a{}b", c.escape_default()));
        }
        let plain = "Søren Åse-東京 \u{0600} 50 € 😀 \"x\"";
        assert_eq!((one_line(plain).as_str(), Visible(plain).to_string().as_str()), (plain, plain));
    }
}
