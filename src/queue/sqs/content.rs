//! The limits of SQS on a message's bytes, characters and attributes, checked before anything is sent. Pure functions.

use std::borrow::Cow;

use super::call::{Entry, MAX_ATTRIBUTES, MAX_CALL_BYTES};
use crate::message::{Attribute, AttributeValue};

/// The start of the group of a message that stands alone on a FIFO queue, where SQS requires a group for every message.
pub const ALONE: &str = "octoconf.alone.";
/// The start of the group that a letter has for itself on a FIFO dead letter queue.
pub const DEAD: &str = "octoconf.dead.";

/// Returns the type of an attribute as SQS knows it, with the label if there is one: `Number.float`.
pub fn data_type(attribute: &Attribute) -> Cow<'static, str> {
    let base = match &attribute.value {
        AttributeValue::String(_) => "String",
        AttributeValue::Number(_) => "Number",
        AttributeValue::Binary(_) => "Binary",
    };
    attribute.label.as_deref().map_or(base.into(), |label| format!("{base}.{label}").into())
}

/// Returns the size of an attribute as SQS counts it: the bytes of name, type and value.
pub fn attribute_bytes(attribute: &Attribute) -> usize {
    let value = match &attribute.value {
        AttributeValue::String(text) | AttributeValue::Number(text) => text.len(),
        AttributeValue::Binary(bytes) => bytes.len(),
    };
    attribute.name.len() + data_type(attribute).len() + value
}

/// Returns the size of a message in bytes as SQS counts it.
pub fn entry_bytes(entry: &Entry<'_>) -> usize {
    entry.body.len() + entry.attributes.iter().map(attribute_bytes).sum::<usize>()
}

/// Returns a body or value as text if SQS accepts it (UTF-8 of the characters that XML 1.0 has), else why not.
pub fn check_text(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8 from byte {} on", error.valid_up_to()))?;
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(c) => Err(format!("it holds the character U+{:04X}, which SQS does not accept", u32::from(c))),
        None => Ok(text),
    }
}

/// Returns whether SQS accepts the character. AWS: #x9 | #xA |
/// #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.
pub fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Returns whether SQS accepts the text as a message's group (AWS: 1 to 128 alphanumeric characters and punctuation).
pub fn is_group(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the body of a message as text if SQS would accept the message, else why it would not.
pub fn check<'a>(body: &'a [u8], attributes: &[Attribute]) -> Result<&'a str, String> {
    if body.is_empty() {
        return Err("its body is empty, which SQS does not accept".to_owned());
    }
    let bytes = body.len() + attributes.iter().map(attribute_bytes).sum::<usize>();
    if bytes > MAX_CALL_BYTES {
        return Err(format!("it has {bytes} bytes, attributes included; a message has at most {MAX_CALL_BYTES}"));
    }
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(format!("it has {} attributes; a message has at most {MAX_ATTRIBUTES}", attributes.len()));
    }
    for attribute in attributes {
        let checked = match &attribute.value {
            AttributeValue::String(text) | AttributeValue::Number(text) if !text.is_empty() => {
                check_text(text.as_bytes()).map(drop)
            }
            AttributeValue::Binary(bytes) if !bytes.is_empty() => Ok(()),
            _ => Err("it is empty, which SQS does not accept".to_owned()),
        };
        checked.map_err(|why| format!("attribute {}: {why}", attribute.name))?;
    }
    check_text(body).map_err(|why| format!("its body: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, value: &str) -> Attribute {
        Attribute::new(name.into(), AttributeValue::String(value.into()))
    }

    #[test]
    fn what_sqs_would_refuse_is_refused_with_the_reason() {
        let fine = "{\"ä\": \"\u{1F419}\u{FFFD}\"}\r\n\t";
        assert_eq!(check(fine.as_bytes(), &vec![text("a", "1"); 10]).unwrap(), fine);
        for (body, attributes, says) in [
            (&b""[..], vec![], "empty"),
            (b"a\xff", vec![], "byte 1"),
            (b"a\0b", vec![], "U+0000"),
            ("\u{FFFE}".as_bytes(), vec![], "U+FFFE"),
            (b"a", vec![text("a", "1"); 11], "11 attributes"),
            (b"a", vec![text("a", "\u{1b}")], "attribute a: it holds the character U+001B"),
            (b"a", vec![text("b", "")], "attribute b: it is empty"),
            (&vec![b'a'; MAX_CALL_BYTES + 1], vec![], "1048577 bytes"),
            (&vec![b'a'; MAX_CALL_BYTES - 10], vec![text("abc", "de")], "1048577 bytes"),
        ] {
            let why = check(body, &attributes).unwrap_err();
            assert!(why.contains(says), "{says}: {why}");
        }
        assert!(check(&vec![b'a'; MAX_CALL_BYTES - 11], &[text("abc", "de")]).is_ok());
    }
}
