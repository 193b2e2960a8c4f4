//! The two handlers in code, `order` and `product`, and how both read a body.
//!
//! This is the hot path: texts are borrowed from the body, and only the payload is allocated. What is wrong with a body
//! is determined only once reading it has failed.
//!
//! Bodies are read strictly, since a dead letter is better than a payload made by guessing: a body is one JSON object
//! in UTF-8; a field that is read may occur only once; a number is no text and a text no number. Fields that are not
//! read are ignored, whatever they hold, but nothing may nest deeper than [`json::MAX_DEPTH`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::unreadable;
use crate::json::{self, Bounds};

mod order;
mod product;

pub use order::Order;
pub use product::Product;

/// Reads a body as `T`, a struct of the fields that a handler uses. The error is the reason to reject the message.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    // Checking the body as a whole is cheaper than checking each text in it.
    let text = std::str::from_utf8(body).map_err(|_| explain(body, String::new()))?;
    // serde would also accept an array for the struct, field by field.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(explain(body, "the body is not a JSON object".to_owned()));
    }
    let value = serde_json::from_str(text).map_err(|error| explain(body, error.to_string()))?;
    if json::is_too_deep(text) {
        return Err(explain(body, String::new()));
    }
    Ok(value)
}

/// Returns why a body failed: its syntax or depth if one of these is at fault, else `content`,
/// serde's message about a field.
#[cold]
fn explain(body: &[u8], content: String) -> String {
    json::check(body, Bounds::DEPTH).map_or_else(|error| unreadable(&error), |()| content)
}

/// Makes a payload of what `fill` writes.
///
/// The payload is written piece by piece and not as a struct: measured, this saves a fifth
/// of a whole run of the handler.
fn payload(fill: impl FnOnce(&mut Pieces<'_>) -> serde_json::Result<()>) -> Result<Bytes, String> {
    thread_local! {
        // The buffer grows to the largest payload of the thread. A payload that waits in a bucket is
        // a copy of exactly its own size.
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        match fill(&mut Pieces(scratch)) {
            Ok(()) => Ok(Bytes::copy_from_slice(scratch)),
            Err(error) => Err(format!("the payload cannot be written: {error}")),
        }
    })
}

/// A payload while it is written.
struct Pieces<'a>(&'a mut Vec<u8>);

impl Pieces<'_> {
    /// Appends JSON as it is.
    fn json(&mut self, text: &'static str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Appends `before`, JSON up to and including the colon of a field, then that field's value.
    fn field(&mut self, before: &'static str, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
        self.json(before);
        serde_json::to_writer(&mut *self.0, value)
    }
}

/// A JSON string: borrowed from the body unless it holds escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;

        impl<'de> Visitor<'de> for AsText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(AsText)
    }
}

/// Functions for `deserialize_with`, one for each field, since serde's messages do not name
/// the field that has a wrong type.
mod field {
    use super::{Deserialize, Deserializer, Error};

    macro_rules! fields {
        ($($name:ident),* $(,)?) => {$(
            pub(super) fn $name<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
                T::deserialize(deserializer)
                    .map_err(|error| D::Error::custom(format_args!(concat!("field `", stringify!($name), "`: {}"), error)))
            }
        )*};
    }

    fields!(account, invoice, issued_at, country, sku, name, quantity, unit_price);
}

#[cfg(test)]
mod tests;
