//! Payloads as lines: what a file, standard output and the `ndjson` format are made of.
//!
//! Pure: bytes in, bytes out.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::message::Item;

/// One payload a line, in order, each line ended by a line feed.
pub fn of(items: &[Item]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(items.iter().map(|item| item.payload.len() + 1).sum());
    for item in items {
        lines.extend_from_slice(&one_line(&item.payload));
        lines.push(b'\n');
    }
    lines
}

/// A payload without a line break in it, so that a reader who splits at line feeds gets back what was sent.
///
/// Handlers give JSON in one line, which passes through untouched. In JSON that was written over several lines a break can only be space
/// between two tokens, so it becomes a space. A library user's handler may give text that is not JSON: it becomes a JSON string when
/// it holds a break, rather than two lines that say something else.
fn one_line(payload: &[u8]) -> Cow<'_, [u8]> {
    if !payload.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(payload);
    }
    if is_json(payload) {
        return Cow::Owned(payload.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect());
    }
    Cow::Owned(as_json_string(payload))
}

pub fn is_json(payload: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(payload).is_ok()
}

/// Any bytes as a JSON string; what is not UTF-8 in them is replaced by U+FFFD.
pub fn as_json_string(payload: &[u8]) -> Vec<u8> {
    serde_json::Value::from(String::from_utf8_lossy(payload)).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_one_line_is_not_copied_or_changed() {
        assert!(matches!(one_line(br#"{"a": 1.50}"#), Cow::Borrowed(br#"{"a": 1.50}"#)));
    }

    #[test]
    fn json_over_several_lines_keeps_its_tokens() {
        assert_eq!(&*one_line(b"{\r\n  \"a\": \"x\\ny\"\n}"), b"{    \"a\": \"x\\ny\" }");
    }

    #[test]
    fn text_with_a_break_becomes_a_json_string() {
        assert_eq!(&*one_line(b"two\nlines"), br#""two\nlines""#);
        assert_eq!(&*one_line(b"\xff\n"), "\"\u{fffd}\\n\"".as_bytes());
    }
}
