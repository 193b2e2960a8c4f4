//! How the fixed parts of a message are stored in its row: attributes as JSON and open
//! deliveries as a list, so that a person with the `sqlite3` shell can read them.

use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::message::settle::SettledPart;
use crate::message::{Account, Attribute, AttributeValue, DeliveryName};

#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<Box<str>>,
    #[serde(flatten)]
    value: StoredValue,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredValue {
    String(String),
    Number(String),
    /// The bytes in hexadecimal, as the `sqlite3` shell shows them.
    Binary(String),
}

/// Returns attributes as JSON; `None` if there are none.
pub(in crate::queue) fn attributes_to_text(attributes: &[Attribute]) -> Result<Option<String>, serde_json::Error> {
    if attributes.is_empty() {
        return Ok(None);
    }
    let stored: Vec<_> = attributes
        .iter()
        .map(|attribute| Stored {
            name: attribute.name.to_string(),
            label: attribute.label.clone(),
            value: match &attribute.value {
                AttributeValue::String(text) => StoredValue::String(text.clone()),
                AttributeValue::Number(text) => StoredValue::Number(text.clone()),
                AttributeValue::Binary(bytes) => StoredValue::Binary(to_hex(bytes)),
            },
        })
        .collect();
    serde_json::to_string(&stored).map(Some)
}

/// Reads what [`attributes_to_text`] wrote; the error names what is wrong with the text.
pub(in crate::queue) fn attributes_from_text(text: Option<&str>) -> Result<Vec<Attribute>, String> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let stored: Vec<Stored> = serde_json::from_str(text).map_err(|error| format!("its attributes are not readable: {error}"))?;
    let back = |Stored { name, label, value }| {
        let value = match value {
            StoredValue::String(text) => AttributeValue::String(text),
            StoredValue::Number(text) => AttributeValue::Number(text),
            StoredValue::Binary(hex) => {
                let bytes = from_hex(&hex).ok_or_else(|| format!("its attribute {name} is not in hexadecimal"))?;
                AttributeValue::Binary(bytes.into())
            }
        };
        Ok(Attribute { name: CompactString::from(name), value, label })
    };
    stored.into_iter().map(back).collect()
}

/// `[[1,"acme"]]`; without the accounts, as earlier versions wrote it, `1,3`.
pub(super) fn open_to_text(open: &[DeliveryName]) -> String {
    if open.iter().all(|name| name.account.is_none()) {
        return open.iter().map(|name| name.index.to_string()).collect::<Vec<_>>().join(",");
    }
    // A list of numbers and texts has a form in JSON.
    serde_json::to_string(&pairs(open)).unwrap_or_default()
}

pub(super) fn open_from_text(text: Option<&str>) -> Result<Option<Arc<[DeliveryName]>>, String> {
    let Some(text) = text else { return Ok(None) };
    let unreadable = |error: String| format!("its open deliveries {text:?} are not readable: {error}");
    if text.starts_with('[') {
        let open: Vec<Pair<String>> = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        return Ok(Some(names(open).collect()));
    }
    let index = |index: &str| Ok(DeliveryName { index: index.parse()?, account: None });
    let open: Result<_, std::num::ParseIntError> = text.split(',').map(index).collect();
    open.map(Some).map_err(|error| unreadable(error.to_string()))
}

/// A delivery's place and account.
type Pair<T> = (u16, Option<T>);

fn pairs(names: &[DeliveryName]) -> Vec<Pair<&str>> {
    names.iter().map(|name| (name.index, name.account.as_deref())).collect()
}

fn names(pairs: Vec<Pair<String>>) -> impl Iterator<Item = DeliveryName> {
    pairs.into_iter().map(|(index, account)| DeliveryName { index, account: account.map(Account::from) })
}

#[derive(Serialize, Deserialize)]
struct StoredPart<T> {
    accepted: bool,
    deliveries: Vec<Pair<T>>,
}

/// `{"accepted":true,"deliveries":[[0,"acme"]]}`.
pub(super) fn settled_to_text(settled: &SettledPart) -> String {
    // As above.
    serde_json::to_string(&StoredPart { accepted: settled.accepted, deliveries: pairs(&settled.deliveries) }).unwrap_or_default()
}

pub(super) fn settled_from_text(text: Option<&str>) -> Result<Option<SettledPart>, String> {
    let Some(text) = text else { return Ok(None) };
    let StoredPart { accepted, deliveries } =
        serde_json::from_str(text).map_err(|error| format!("its settled deliveries {text:?} are not readable: {error}"))?;
    Ok(Some(SettledPart { deliveries: names(deliveries).collect(), accepted }))
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    hex.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were() {
        let attributes = vec![
            Attribute::new("text".into(), AttributeValue::String("ä\n\"{}\u{0}".into())),
            Attribute::new("number".into(), AttributeValue::Number("0.10000000000000000000000000000000001".into())),
            Attribute::new("bytes".into(), AttributeValue::Binary(vec![0, 9, 255].into())),
            Attribute::new("none".into(), AttributeValue::Binary(Default::default())),
            Attribute { label: Some("json".into()), ..Attribute::new("labelled".into(), AttributeValue::String("1".into())) },
        ];
        let text = attributes_to_text(&attributes).unwrap().unwrap();
        assert!(text.contains(r#"{"name":"bytes","binary":"0009ff"}"#), "{text}");
        assert_eq!(attributes_from_text(Some(&text)).unwrap(), attributes);
        assert_eq!(attributes_to_text(&[]).unwrap(), None);
        assert_eq!(attributes_from_text(None).unwrap(), []);
    }

    #[test]
    fn open_deliveries_come_back_as_they_were() {
        let name = |index, account: Option<&str>| DeliveryName { index, account: account.map(Into::into) };
        let with = [name(3, Some("a\",1")), name(999, None), name(0, Some(""))];
        for (open, text) in [
            (&with[..1], "[[3,\"a\\\",1\"]]"),
            (&with, "[[3,\"a\\\",1\"],[999,null],[0,\"\"]]"),
            (&[name(0, None), name(7, None)], "0,7"),
        ] {
            assert_eq!(open_to_text(open), text);
            assert_eq!(open_from_text(Some(text)).unwrap().as_deref(), Some(open));
        }
        assert_eq!(open_from_text(None).unwrap(), None);
    }

    #[test]
    fn settled_deliveries_come_back_as_they_were() {
        let name = |index, account: &str| DeliveryName { index, account: Some(account.into()) };
        for (deliveries, accepted, text) in [
            (vec![name(0, "a"), name(999, "a\"")], true, r#"{"accepted":true,"deliveries":[[0,"a"],[999,"a\""]]}"#),
            (vec![DeliveryName { index: 1, account: None }], false, r#"{"accepted":false,"deliveries":[[1,null]]}"#),
        ] {
            let settled = SettledPart { deliveries, accepted };
            assert_eq!(settled_to_text(&settled), text);
            assert_eq!(settled_from_text(Some(text)).unwrap(), Some(settled));
        }
        assert_eq!(settled_from_text(None).unwrap(), None);
    }

    #[test]
    fn a_row_that_someone_else_wrote_is_an_error_in_words() {
        for text in ["{", r#"[{"name":"a","binary":"0"}]"#, r#"[{"name":"a","binary":"zz"}]"#, r#"[{"name":"a"}]"#] {
            assert!(attributes_from_text(Some(text)).unwrap_err().contains("its attribute"), "{text}");
        }
        for text in ["1,x", "[[1]]", "[", ""] {
            assert!(open_from_text(Some(text)).unwrap_err().contains(text), "{text}");
            assert!(settled_from_text(Some(text)).unwrap_err().contains(text), "{text}");
        }
    }
}
