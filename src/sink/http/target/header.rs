//! The headers of a partner's settings: which ones may be configured, and what a request can hold of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use ureq::http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::TargetError;
use crate::sink::http::agents::BUFFER_BYTES;

/// The headers that octoconf sets in each request, or that determine where a message ends.
const OURS: [&str; 13] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "octoconf-messages",
    "octoconf-queue",
    "transfer-encoding",
    "user-agent",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Parses a header. The name must be a token (RFC 9110, 5.6.2). The value must be text (5.5), since a line break would
/// end the header and start another.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), TargetError> {
    let parsed: HeaderName = name.parse().map_err(|_| TargetError::HeaderName(name.to_owned()))?;
    if OURS.contains(&parsed.as_str()) {
        return Err(TargetError::HeaderReserved(name.to_owned()));
    }
    let is_text = value.chars().all(|c| c == '\t' || !c.is_control());
    let value = Some(value).filter(|_| is_text).and_then(secret_value);
    let value = value.ok_or_else(|| TargetError::HeaderValue(name.to_owned()))?;
    // `ureq` refuses every request that has such a value there.
    if parsed == AUTHORIZATION && value.to_str().is_err() {
        return Err(TargetError::HeaderAscii(name.to_owned()));
    }
    if !fits_a_line(&parsed, &value) {
        return Err(TargetError::HeaderLong(name.to_owned()));
    }
    Ok((parsed, value))
}

/// Returns whether the header can be sent: `ureq` writes each line as a whole into its buffer, the last with the empty line
/// behind it.
fn fits_a_line(name: &HeaderName, value: &HeaderValue) -> bool {
    name.as_str().len() + ": ".len() + value.len() + "\r\n\r\n".len() <= BUFFER_BYTES
}

/// Returns the user part of a URL as basic authentication (RFC 7617); `None` if it is too long for a header.
pub fn basic(user: &str) -> Option<HeaderValue> {
    let decoded: Vec<u8> = percent_decode_str(user).collect();
    let decoded = if decoded.contains(&b':') { decoded } else { [decoded.as_slice(), b":"].concat() };
    secret_value(&format!("Basic {}", STANDARD.encode(decoded))).filter(|value| fits_a_line(&AUTHORIZATION, value))
}

fn secret_value(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
