//! Payloads as lines, as a file, standard output and the `ndjson` format contain them.
//!
//! Pure: bytes in, bytes out.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::message::Item;

/// Returns the payloads in order, each on one line that ends with a line feed.
pub fn of(items: &[Item]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(items.iter().map(|item| item.payload.len() + 1).sum());
    for item in items {
        lines.extend_from_slice(&one_line(&item.payload));
        lines.push(b'\n');
    }
    lines
}

/// Returns a payload without line breaks, so that a reader who splits at line feeds gets back what was sent.
///
/// Handlers return JSON on one line, which is passed through untouched. A line break in JSON written over several lines
/// can only be white space between tokens, so it becomes a space. The handler of a library user may return text that is
/// not JSON: if such text holds a line break, it becomes a JSON string instead of two lines that mean something else.
fn one_line(payload: &[u8]) -> Cow<'_, [u8]> {
    if !payload.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(payload);
    }
    if is_json(payload) {
        return Cow::Owned(payload.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect());
    }
    Cow::Owned(as_json_string(payload))
}

/// Returns whether a payload is JSON.
pub fn is_json(payload: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(payload).is_ok()
}

/// Returns the bytes as a JSON string, with U+FFFD in place of bytes that are not UTF-8.
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
