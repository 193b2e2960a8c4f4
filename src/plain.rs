//! Makes foreign text (accounts, reasons, payloads) safe for a terminal: no character may move the cursor, change the
//! direction of the line or hide other text. Accounts are named so that an operator can tell them apart.
//!
//! Pure.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;
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

/// The characters that are drawn as nothing, or as a blank, although they are letters, marks or symbols: the others of
/// Unicode's property Default_Ignorable_Code_Point, and the blank of Braille. They harm no text, and one stands behind
/// many an emoji, but an account with one looks like the account without it.
const BLANKS: [RangeInclusive<char>; 11] = [
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fff8}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{e0080}'..='\u{e0fff}',
];

/// Whether a terminal would act on the character instead of showing it.
fn is_obeyed(c: char) -> bool {
    c.is_control() || FORMATS.iter().any(|range| range.contains(&c))
}

/// Returns the text on one line, with a space for each character on which a terminal would act.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).collect()
}

/// Returns an account as operators see it, so that two accounts never look the same and [`meant`] finds the account again:
/// as it is, or as a JSON string if a part of it would not be seen.
pub fn name(account: &str) -> Cow<'_, str> {
    // A dash stands for no account in tables.
    let is_clear = !matches!(account, "" | "-")
        && !account.starts_with('"')
        && account.trim() == account
        && !account.contains("  ")
        && !account.chars().any(is_unseen);
    if is_clear { account.into() } else { quoted(account).into() }
}

/// Returns an account as a JSON string, whatever it is, for where something else follows it on the same line. [`meant`] finds
/// the account again.
pub fn quoted(account: &str) -> String {
    // Text is always written as JSON.
    escaped(&serde_json::to_string(account).unwrap_or_default(), is_unseen).into_owned()
}

/// Returns JSON as it is, with JSON's escapes for the characters on which a terminal would act. They stand in strings, since
/// JSON has none elsewhere that is not a line break or a tab.
pub fn json(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_obeyed(c) && !matches!(c, '\n' | '\r' | '\t'))
}

fn escaped(json: &str, is_unclear: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !json.chars().any(&is_unclear) {
        return json.into();
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unclear(c) {
            // Writing to a string cannot fail.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| _ = write!(shown, "\\u{unit:04x}"));
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// Whether the character is obeyed, or is drawn as nothing, or is a blank that looks like another.
fn is_unseen(c: char) -> bool {
    is_obeyed(c) || (c.is_whitespace() && c != ' ') || BLANKS.iter().any(|range| range.contains(&c))
}

/// Returns the account that an operator means: what is a JSON string is one, as views show accounts that cannot be typed or
/// told apart otherwise; all else is the account itself.
pub fn meant(argument: &str) -> String {
    let quoted = argument.starts_with('"').then(|| serde_json::from_str(argument).ok()).flatten();
    quoted.unwrap_or_else(|| argument.to_owned())
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

    #[test]
    fn no_two_accounts_look_the_same_and_each_is_found_again_as_it_is_shown() {
        let clear = ["acme", "Søren Åse-東京", "a\\nb", "a\"b", "a-b", "{account}", "../up", "é", "e\u{301}", "null", "--json"];
        let unclear = [
            ("", r#""""#),
            ("-", r#""-""#),
            (" acme", r#"" acme""#),
            ("acme ", r#""acme ""#),
            ("a  b", r#""a  b""#),
            ("a\u{a0}b", r#""a\u00a0b""#),
            ("a\nb\r\tc", r#""a\nb\r\tc""#),
            ("a\0b", r#""a\u0000b""#),
            ("\u{1b}[31ma\\n", r#""\u001b[31ma\\n""#),
            ("\u{202e}a\u{feff}\u{e0041}", r#""\u202ea\ufeff\udb40\udc41""#),
            ("a\u{3164}", r#""a\u3164""#),
            ("❤\u{fe0f}\u{e0101}", r#""❤\ufe0f\udb40\udd01""#),
            ("\"acme\"", r#""\"acme\"""#),
            ("\"", r#""\"""#),
        ];
        for (account, shown) in clear.map(|account| (account, account)).into_iter().chain(unclear) {
            assert_eq!((&*name(account), &*meant(shown)), (shown, account), "{account:?}");
            assert_eq!(meant(&quoted(account)), account);
        }
        assert_eq!(meant("\"acme"), "\"acme", "no JSON");
    }

    #[test]
    fn json_that_is_shown_stays_the_same_json_without_what_a_terminal_obeys() {
        let value = serde_json::json!({ "a\u{9b}2J": ["\u{202e}\u{e0041}\u{7f}\u{1b}\n", "Søren 東京 \u{a0}"] });
        for text in [value.to_string(), format!("{value:#}")] {
            let shown = json(&text);
            assert!(!shown.chars().any(|c| is_obeyed(c) && c != '\n'), "{shown:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
        assert!(matches!(json("[\n\t\"東京\"\r\n]"), Cow::Borrowed(_)), "nothing is escaped");
    }
}
