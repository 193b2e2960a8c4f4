//! The JSON in which containers, instances and processes return keys: the same fields, with two names for the token.
//!
//! Pure functions. No error quotes the document, since any part of it may be a key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::{CredentialsError, Keys};

/// The fields that matter, all optional so that an error can name a missing one.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    /// The version; 1 in the output of a `credential_process`.
    pub version: Option<u64>,
    /// The status from an instance: `Success`, or what went wrong.
    pub code: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
    expiration: Option<String>,
}

impl Document {
    /// Parses the JSON; `from` names its source, for errors.
    pub fn parse(from: &str, text: &str) -> Result<Self, CredentialsError> {
        serde_json::from_str(text).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            let problem = match error.classify() {
                serde_json::error::Category::Eof => format!("the JSON breaks off at {place}"),
                serde_json::error::Category::Data => format!("the JSON has a field of another type at {place}"),
                _ => format!("what it gave is not JSON (at {place})"),
            };
            CredentialsError::malformed(from, format!("{problem}; look at what answers there"))
        })
    }

    pub fn keys(self, from: &str) -> Result<Keys, CredentialsError> {
        let there = |value: Option<String>, name: &str| {
            let value = value.filter(|value| !value.is_empty());
            value.ok_or_else(|| CredentialsError::malformed(from, format!("the JSON has no {name}; look at what answers there")))
        };
        let expires_at = match self.expiration.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(time(&text).ok_or_else(|| {
                CredentialsError::malformed(
                    from,
                    "Expiration is not a time in the form of ISO 8601, such as 2026-01-02T03:04:05Z",
                )
            })?),
        };
        Ok(Keys {
            access_key_id: there(self.access_key_id, "AccessKeyId")?,
            secret_access_key: there(self.secret_access_key, "SecretAccessKey")?,
            session_token: self.token.filter(|token| !token.is_empty()),
            expires_at,
        })
    }
}

/// Parses a time of RFC 3339, with `Z` or an offset (Python writes `+00:00`).
pub fn time(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let offset_secs = (hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?) * 60;
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match offset.get(..1)? {
        "+" => time.checked_sub(Duration::from_secs(offset_secs)).filter(|time| *time >= UNIX_EPOCH),
        "-" => time.checked_add(Duration::from_secs(offset_secs)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Keys, CredentialsError> {
        Document::parse("test", text).and_then(|document| document.keys("test"))
    }

    #[test]
    fn both_dialects_give_the_same_keys() {
        for token in ["Token", "SessionToken"] {
            let text = format!(
                r#"{{"AccessKeyId":"A","SecretAccessKey":"S","{token}":"T","Expiration":"2026-01-01T00:00:00Z","LastUpdated":"x"}}"#
            );
            let keys = parse(&text).unwrap();
            assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.as_str()), ("A", "S"));
            assert_eq!((keys.session_token.as_deref(), keys.expires_at), (Some("T"), Some(super::super::testing::now())));
        }
        let lasting = parse(r#"{"AccessKeyId":"A","SecretAccessKey":"S","Token":"","Expiration":null}"#).unwrap();
        assert_eq!((lasting.session_token, lasting.expires_at), (None, None));
    }

    #[test]
    fn a_document_without_keys_is_told_apart_and_never_quoted() {
        for (text, expected) in [
            (r#"{"AccessKeyId":"hush","SecretAccessK"#, "breaks off"),
            ("", "breaks off"),
            ("<html>hush</html>", "not JSON"),
            (r#"{"AccessKeyId":"hush","SecretAccessKey":{"hush":1}}"#, "another type"),
            (r#""hush""#, "another type"),
            (r#"{"AccessKeyId":"hush"}"#, "no SecretAccessKey"),
            (r#"{"AccessKeyId":"","SecretAccessKey":"hush"}"#, "no AccessKeyId"),
            (r#"{"AccessKeyId":"hush","SecretAccessKey":"hush","Expiration":"hush"}"#, "not a time"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.is_transient(), "{error}");
            let error = error.to_string();
            assert!(error.contains(expected) && !error.contains("hush"), "{text}: {error}");
        }
    }

    #[test]
    fn times_may_have_an_offset() {
        let noon = humantime::parse_rfc3339("2026-01-01T12:00:00Z").unwrap();
        for text in
            ["2026-01-01T12:00:00Z", "2026-01-01T12:00:00+00:00", "2026-01-01T14:30:00+02:30", "2026-01-01T04:00:00-08:00"]
        {
            assert_eq!(time(text), Some(noon), "{text}");
        }
        for text in [
            "",
            "+00:00",
            "2026-01-01",
            "2026-01-01T12:00:00",
            "2026-01-01T12:00:00*00:00",
            "2026-01-01T12:00:00+ä0:00",
            "1970-01-01T00:00:00+01:00",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
