//! Writes jq values as JSON that any partner can read.
//!
//! jaq's own writer produces a superset of JSON (`NaN`, byte strings, names that are no strings, invalid UTF-8) and
//! recurses as deep as the value goes. Here each of these is an error, and the size is bounded.

use bytes::Bytes;
use jaq_json::{Num, Rc, Val};

use crate::json;

/// The largest size in bytes of an error's value. Reasons are cut to their own limit later.
pub(super) const MAX_ERROR: usize = 64 * 1024;

/// Why a value cannot be a payload.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("more than {} MiB of payload", super::MAX_OUTPUT / 1024 / 1024)]
    TooLarge,
    #[error("more than {} levels of arrays and objects", json::MAX_DEPTH)]
    TooDeep,
    #[error("{0} is not a number that JSON knows")]
    Number(f64),
    #[error("a number that is not written as JSON wants it")]
    Literal,
    #[error("a byte string is no JSON, make text of it with `@base64`")]
    Binary,
    #[error("a text with invalid UTF-8")]
    NotUtf8,
    #[error("the name of a field is not a string")]
    Name,
}

/// Writes a value as compact JSON of at most `room` bytes.
pub(super) fn to_json(value: Val, room: usize) -> Result<Bytes, Unwritable> {
    let mut writer = Writer { out: Vec::with_capacity(128), room };
    let written = writer.value(&value, 0);
    if written == Err(Unwritable::TooDeep) {
        dismantle(value);
    }
    written.map(|()| Bytes::copy_from_slice(&writer.out))
}

struct Writer {
    out: Vec<u8>,
    room: usize,
}

impl Writer {
    fn value(&mut self, value: &Val, depth: usize) -> Result<(), Unwritable> {
        match value {
            Val::Null => self.push(b"null"),
            Val::Bool(true) => self.push(b"true"),
            Val::Bool(false) => self.push(b"false"),
            Val::Num(number) => self.number(number),
            Val::TStr(text) => self.text(text),
            Val::BStr(_) => Err(Unwritable::Binary),
            Val::Arr(_) | Val::Obj(_) if depth == json::MAX_DEPTH => Err(Unwritable::TooDeep),
            Val::Arr(items) => {
                self.push(b"[")?;
                for (index, item) in items.iter().enumerate() {
                    self.comma(index)?;
                    self.value(item, depth + 1)?;
                }
                self.push(b"]")
            }
            Val::Obj(fields) => {
                self.push(b"{")?;
                for (index, (name, item)) in fields.iter().enumerate() {
                    self.comma(index)?;
                    let Val::TStr(name) = name else { return Err(Unwritable::Name) };
                    self.text(name)?;
                    self.push(b":")?;
                    self.value(item, depth + 1)?;
                }
                self.push(b"}")
            }
        }
    }

    fn number(&mut self, number: &Num) -> Result<(), Unwritable> {
        match number {
            Num::Float(float) if !float.is_finite() => Err(Unwritable::Number(*float)),
            Num::Float(float) => self.encode(float),
            Num::Int(integer) => self.encode(integer),
            Num::BigInt(integer) => self.push(integer.to_string().as_bytes()),
            // A decimal literal keeps the form that it has in the body or the program; jq
            // programs may write leading zeros.
            Num::Dec(literal) if json::is_number(literal) => self.push(literal.as_bytes()),
            Num::Dec(_) => Err(Unwritable::Literal),
        }
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Unwritable> {
        // Checked before the text is written, so that a giant text is not copied first.
        if text.len() > self.room {
            return Err(Unwritable::TooLarge);
        }
        self.encode(std::str::from_utf8(text).map_err(|_| Unwritable::NotUtf8)?)
    }

    fn encode(&mut self, value: &(impl serde::Serialize + ?Sized)) -> Result<(), Unwritable> {
        // Serializing numbers and texts cannot fail, and neither can writing to memory.
        serde_json::to_writer(&mut self.out, value).map_err(|_| Unwritable::Literal)?;
        self.within_room()
    }

    fn comma(&mut self, index: usize) -> Result<(), Unwritable> {
        if index == 0 { Ok(()) } else { self.push(b",") }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        self.out.extend_from_slice(bytes);
        self.within_room()
    }

    fn within_room(&self) -> Result<(), Unwritable> {
        if self.out.len() > self.room { Err(Unwritable::TooLarge) } else { Ok(()) }
    }
}

/// Frees a value level by level. Dropping a value that a program nested deep enough would overflow
/// the stack and end the process.
fn dismantle(value: Val) {
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Val::Arr(items) => rest.extend(Rc::try_unwrap(items).unwrap_or_default()),
            Val::Obj(fields) => rest.extend(Rc::try_unwrap(fields).unwrap_or_default().into_iter().flat_map(<[Val; 2]>::from)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Val {
        Val::utf8_str(text)
    }

    fn array(items: impl IntoIterator<Item = Val>) -> Val {
        items.into_iter().collect()
    }

    fn nested(depth: usize) -> Val {
        (0..depth).fold(Val::Null, |inner, _| array([inner]))
    }

    #[test]
    fn writes_what_serde_json_would() {
        let fields = [
            (text("a \"b\"\n"), Val::from(1_isize)),
            (text("é"), array([Val::Null, Val::Bool(true), Val::Bool(false), Val::from(1.0)])),
        ];
        let value = Val::obj(fields.into_iter().collect());
        assert_eq!(to_json(value, 100).unwrap(), r#"{"a \"b\"\n":1,"é":[null,true,false,1.0]}"#);
        assert_eq!(to_json(Val::Num(Num::Dec("1.50".to_owned().into())), 4).unwrap(), "1.50");
        assert_eq!(to_json(nested(json::MAX_DEPTH), 1000).unwrap().len(), 2 * json::MAX_DEPTH + 4);
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        let refused = |value| to_json(value, 1000).unwrap_err();
        assert!(matches!(refused(Val::from(f64::NAN)), Unwritable::Number(_)));
        assert_eq!(refused(Val::from(f64::INFINITY)), Unwritable::Number(f64::INFINITY));
        assert_eq!(refused(Val::Num(Num::Dec("01.5".to_owned().into()))), Unwritable::Literal);
        assert_eq!(refused(Val::byte_str("a")), Unwritable::Binary);
        assert_eq!(refused(Val::utf8_str(&b"\xff"[..])), Unwritable::NotUtf8);
        assert_eq!(refused(Val::obj([(Val::Null, Val::Null)].into_iter().collect())), Unwritable::Name);
        assert_eq!(refused(nested(json::MAX_DEPTH + 1)), Unwritable::TooDeep);
        assert_eq!(refused(nested(1_000_000)), Unwritable::TooDeep);
    }

    #[test]
    fn room_is_never_exceeded() {
        let value = || array([text("abc"), Val::from(12_isize), Val::Null]);
        assert_eq!(to_json(value(), 15).unwrap(), r#"["abc",12,null]"#);
        for room in 0..15 {
            assert_eq!(to_json(value(), room), Err(Unwritable::TooLarge), "{room}");
        }
    }
}
