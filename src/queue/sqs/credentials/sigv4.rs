//! AWS Signature Version 4, as far as STS needs it: a POST to `/` without a query.
//!
//! Pure functions; the time is an input. Requests to SQS are signed by the SQS codec instead.

use std::fmt::Write;
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Keys;
use crate::rfc3339;

/// The region, service and time that a signature is for.
pub struct Scope<'a> {
    pub region: &'a str,
    pub service: &'a str,
    pub at: SystemTime,
}

/// Returns the headers that make the request a signed one:
/// `x-amz-date`, `authorization`, and the token of temporary keys.
///
/// `headers` are those to sign. `host` must be among them; names must be in lower case and sorted, values trimmed.
pub fn sign_post(keys: &Keys, scope: &Scope<'_>, headers: &[(&str, &str)], body: &[u8]) -> Vec<(&'static str, String)> {
    // The format is 20150830T123600Z.
    let time = rfc3339::seconds(scope.at).to_string().replace(['-', ':'], "");
    let day = time.get(..8).unwrap_or_default();
    let token = keys.session_token.as_deref();
    // The names are still sorted: no name that is sent to STS comes after these.
    let signed: Vec<(&str, &str)> = headers
        .iter()
        .copied()
        .chain([("x-amz-date", time.as_str())])
        .chain(token.map(|token| ("x-amz-security-token", token)))
        .collect();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let request = format!("POST\n/\n\n{lines}\n{names}\n{}", hex(&Sha256::digest(body)));

    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{within}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let key = signing_key(&keys.secret_access_key, day, scope);
    let signature = hex(&hmac(&key, &to_sign));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={}/{within}, SignedHeaders={names}, Signature={signature}", keys.access_key_id);
    let token = token.map(|token| ("x-amz-security-token", token.to_owned()));
    [("authorization", authorization), ("x-amz-date", time.clone())].into_iter().chain(token).collect()
}

fn signing_key(secret: &str, day: &str, scope: &Scope<'_>) -> Vec<u8> {
    let key = hmac(format!("AWS4{secret}").as_bytes(), day);
    [scope.region, scope.service, "aws4_request"].iter().fold(key, |key, part| hmac(&key, part))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC accepts keys of any length (RFC 2104), so the error never happens.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs with the keys, time and scope of AWS's published test suite for Signature Version 4.
    fn signature(token: Option<&str>, headers: &[(&str, &str)], body: &str) -> Vec<(&'static str, String)> {
        let keys = Keys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: token.map(str::to_owned),
            expires_at: None,
        };
        let at = humantime::parse_rfc3339("2015-08-30T12:36:00Z").unwrap();
        sign_post(&keys, &Scope { region: "us-east-1", service: "service", at }, headers, body.as_bytes())
    }

    const HOST: (&str, &str) = ("host", "example.amazonaws.com");
    const CREDENTIAL: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";

    #[test]
    fn post_vanilla_of_the_suite() {
        let signed = signature(None, &[HOST], "");
        let expected = format!(
            "{CREDENTIAL}, SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(signed, [("authorization", expected), ("x-amz-date", "20150830T123600Z".into())]);
    }

    #[test]
    fn post_x_www_form_urlencoded_of_the_suite() {
        let signed = signature(None, &[("content-type", "application/x-www-form-urlencoded"), HOST], "Param1=value1");
        let expected = format!(
            "{CREDENTIAL}, SignedHeaders=content-type;host;x-amz-date, \
             Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
        assert_eq!(signed[0], ("authorization", expected));
    }

    #[test]
    fn post_sts_header_before_of_the_suite() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUu\
                     wthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHN\
                     VXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let signed = signature(Some(token), &[HOST], "");
        let expected = format!(
            "{CREDENTIAL}, SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
        );
        assert_eq!(signed[0], ("authorization", expected));
        assert_eq!(signed[2], ("x-amz-security-token", token.to_owned()));
    }

    #[test]
    fn the_signing_key_of_the_reference() {
        let at = humantime::parse_rfc3339("2015-08-30T12:36:00Z").unwrap();
        let scope = Scope { region: "us-east-1", service: "iam", at };
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", &scope);
        assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }
}
