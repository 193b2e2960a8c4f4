//! The URL of a partner's requests, with `{account}` and `{queue}` filled in.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Uri;
use ureq::http::header::HeaderValue;

use super::{TargetError, header};
use crate::sink::http::agents::BUFFER_BYTES;
use crate::sink::placeholders::{self, Piece};

/// All characters but the unreserved ones of RFC 3986 (section 2.3).
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The characters besides letters and digits that may stand behind the host of a URL (RFC 3986, section 2), and those of
/// placeholders.
const IN_REST: &str = "-._~:/?[]@!$&'()*+,;=%{}";

/// Values with which a URL is tried out. They are allowed wherever a placeholder may stand.
const SAMPLE_QUEUE: &str = "q";
const SAMPLE_ACCOUNT: &str = "a";

/// Why there is no URL for a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoUrl {
    /// There can never be one for this account.
    ForAccount(String),
    /// There is none for any account of this queue: its name, or the URL, has to be changed.
    ForQueue(String),
}

/// A URL with placeholders in the host, the path or the query.
pub struct UrlTemplate {
    scheme: &'static str,
    host: Vec<Piece>,
    /// Everything from the first slash or question mark on.
    rest: Vec<Piece>,
    /// The whole URL, if it has no placeholder.
    fixed: Option<Uri>,
}

impl UrlTemplate {
    /// Parses a URL, and returns its user part as the value of `authorization`.
    pub fn parse(url: &str) -> Result<(Self, Option<HeaderValue>), TargetError> {
        let (scheme, rest) = match (strip_scheme(url, "https://"), strip_scheme(url, "http://")) {
            (Some(rest), _) => ("https", rest),
            (_, Some(rest)) => ("http", rest),
            _ => return Err(TargetError::Scheme),
        };
        // The fragment after a # is not sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if user.is_some_and(|user| user.contains(['{', '}'])) {
            return Err(TargetError::UserPlaceholder);
        }
        let authorization = user.map(|user| header::basic(user).ok_or(TargetError::Invalid)).transpose()?;
        if has_dots(rest) {
            return Err(TargetError::Dots);
        }
        if rest.contains(|c: char| !(c.is_ascii_alphanumeric() || IN_REST.contains(c))) {
            return Err(TargetError::Invalid);
        }
        let mut template = Self { scheme, host: pieces(host)?, rest: pieces(rest)?, fixed: None };
        // A URL that is wrong with sample values is wrong for all accounts.
        let sample = template.fill(SAMPLE_QUEUE, SAMPLE_ACCOUNT).map_err(|_| TargetError::Invalid)?;
        if !template.host.iter().chain(&template.rest).any(Piece::is_placeholder) {
            template.fixed = Some(sample);
        }
        Ok((template, authorization))
    }

    /// Returns the URL for one bucket, without a user part.
    pub fn url(&self, queue: &str, account: &str) -> Result<Uri, NoUrl> {
        if let Some(uri) = &self.fixed {
            return Ok(uri.clone());
        }
        self.fill(queue, account).map_err(|reason| match self.check_queue(queue) {
            Ok(()) => NoUrl::ForAccount(reason),
            Err(reason) => NoUrl::ForQueue(reason),
        })
    }

    /// Checks that there is a URL for the accounts of this queue.
    pub fn check_queue(&self, queue: &str) -> Result<(), String> {
        self.fill(queue, SAMPLE_ACCOUNT).map(drop)
    }

    /// Returns whether the account or the queue chooses the host.
    pub fn has_open_host(&self) -> bool {
        self.host.iter().any(Piece::is_placeholder)
    }

    fn fill(&self, queue: &str, account: &str) -> Result<Uri, String> {
        let mut url = format!("{}://", self.scheme);
        for piece in &self.host {
            match piece {
                Piece::Text(text) => url.push_str(text),
                Piece::Queue => url.push_str(host_part(queue, "queue")?),
                Piece::Account => url.push_str(host_part(account, "account")?),
            }
        }
        let host_ends = url.len();
        for piece in &self.rest {
            match piece {
                Piece::Text(text) => url.push_str(text),
                Piece::Queue => url.extend(utf8_percent_encode(queue, IN_URL)),
                Piece::Account => url.extend(utf8_percent_encode(account, IN_URL)),
            }
        }
        if has_dots(url.get(host_ends..).unwrap_or_default()) {
            // Encoding does not help: servers also take %2E%2E for two dots (RFC 3986, section 6.2.2.2).
            return Err("an account or a queue of one or two dots cannot be a part of a URL's path".to_owned());
        }
        let invalid = || "the account makes a URL that is not valid, perhaps too long (16 KiB)".to_owned();
        // `ureq` writes the first line of a request as a whole into its buffer.
        if "POST / HTTP/1.1\r\n".len() + url.len() - host_ends > BUFFER_BYTES {
            return Err(invalid());
        }
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        match uri.host() {
            None | Some("") => Err("the URL names no host".to_owned()),
            Some(host) if !is_host(host) => {
                Err("no server can have the host name: each part of it has 1 to 63 characters, the whole at most 253".to_owned())
            }
            Some(_) => Ok(uri),
        }
    }
}

/// Returns whether a host is an IPv6 address, or may be a name by its lengths (RFC 1035, section 2.3.4) or an IPv4 address.
fn is_host(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    host.starts_with('[') || (name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len())))
}

/// Returns whether a segment of the path is one or two dots. `rest` is a URL from the end of its host on.
fn has_dots(rest: &str) -> bool {
    let path = rest.split('?').next().unwrap_or_default();
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn strip_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    url.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).and_then(|_| url.get(scheme.len()..))
}

fn pieces(text: &str) -> Result<Vec<Piece>, TargetError> {
    placeholders::pieces(text).map_err(|found| TargetError::Placeholder(found.chars().take(32).collect()))
}

/// Returns a value that may be part of a host name: it can change nothing but the name.
fn host_part<'a>(value: &'a str, what: &str) -> Result<&'a str, String> {
    let fits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if fits { Ok(value) } else { Err(format!("the {what} cannot be a part of a host name: letters, digits, - and . can")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(template: &str, account: &str) -> Result<String, NoUrl> {
        UrlTemplate::parse(template).unwrap().0.url("stock", account).map(|uri| uri.to_string())
    }

    #[test]
    fn placeholders_are_percent_encoded() {
        let template = "https://partners.example.com/in/{account}/{queue}?a={account}#top";
        assert_eq!(url(template, "17850").unwrap(), "https://partners.example.com/in/17850/stock?a=17850");
        assert_eq!(url(template, "a/b?c#d&e %é").unwrap(), {
            let account = "a%2Fb%3Fc%23d%26e%20%25%C3%A9";
            format!("https://partners.example.com/in/{account}/stock?a={account}")
        });
        assert_eq!(
            url("http://localhost/{account}", "x HTTP/1.1\r\nevil: 1\r\n\r\n\0").unwrap(),
            "http://localhost/x%20HTTP%2F1.1%0D%0Aevil%3A%201%0D%0A%0D%0A%00",
            "it ends neither the request line nor the head"
        );
        assert_eq!(url("HTTP://localhost:8080", "x").unwrap(), "http://localhost:8080/");
    }

    #[test]
    fn dots_never_walk_the_path() {
        for account in [".", ".."] {
            assert!(url("http://localhost/{account}/x", account).is_err());
            assert!(url("http://localhost/{account}", account).is_err());
        }
        assert!(url("http://localhost/{account}", "../x").unwrap().ends_with("/..%2Fx"));
        assert!(url("http://localhost/?account={account}", "..").is_ok());
    }

    #[test]
    fn an_account_that_is_no_name_for_any_server_makes_no_url() {
        let long = "x".repeat(64);
        for account in ["a..b", ".a", "a.", long.as_str(), &"ab.".repeat(90)] {
            let refused = url("https://{account}.example.com/", account);
            assert!(matches!(refused, Err(NoUrl::ForAccount(_))), "{account}: {refused:?}");
        }
        for account in ["a.", &"x".repeat(63), "10.0.0.1", "xn--bcher-kva"] {
            assert!(url("https://x.{account}/", account).is_ok(), "{account}");
        }
    }
}
