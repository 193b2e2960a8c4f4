//! The target of a partner's requests: its settings, checked and parsed once, and the URL with `{account}`
//! and `{queue}` filled in.
//!
//! Pure. No error of this file contains a header's value, a secret, or the user part or query of a URL,
//! since keys are found there.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ureq::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use ureq::http::{HeaderMap, Uri};

use super::agents::BUFFER_BYTES;
use super::secrets::Secrets;
use super::signature::Signer;
use crate::settings::{Format, HttpSettings, Secret};
use crate::sink::placeholders::{self, Piece};

/// All characters but the unreserved ones of RFC 3986 (section 2.3).
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The characters besides letters and digits that may stand behind the host of a URL (RFC 3986, section 2), and those of
/// placeholders.
const IN_REST: &str = "-._~:/?[]@!$&'()*+,;=%{}";

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

/// One partner's settings in the form in which requests need them.
pub struct Target {
    url: UrlTemplate,
    /// The format of the body.
    pub format: Format,
    /// How long sending and receiving the whole answer may take.
    pub timeout: Duration,
    /// How long the lookup, the connection and the TLS handshake may take together.
    pub connect_timeout: Duration,
    /// Signs requests; `None` if the partner has no signing secret.
    pub signer: Option<Signer>,
    /// The configured headers, and the user part of the URL as `authorization`. All are marked as sensitive.
    pub headers: HeaderMap,
    /// The secrets that must not appear in an excerpt of an answer.
    pub secrets: Secrets,
    /// Whether the account chooses the host, so that only public addresses are allowed.
    pub guarded: bool,
}

/// A URL with placeholders in the host, the path or the query.
struct UrlTemplate {
    scheme: &'static str,
    host: Vec<Piece>,
    /// Everything from the first slash or question mark on.
    rest: Vec<Piece>,
    /// The whole URL, if it has no placeholder.
    fixed: Option<Uri>,
}

/// Why a partner's HTTP settings cannot be used. The text says what is wrong with the value under [`TargetError::key`]
/// and what to do. The service does not start, or a reload is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The URL does not start with a known scheme.
    #[error("no URL; start it with https:// or http://")]
    Scheme,
    /// The URL has no valid host, contains invalid characters, or is too long.
    #[error(
        "names no valid host, holds characters that a URL cannot hold, or is longer than 16 KiB; encode such characters as %XX, \
         and write a host in other letters in its xn-- form"
    )]
    Invalid,
    /// The path of the URL contains `.` or `..`.
    #[error("has \".\" or \"..\" in its path, which servers interpret differently; write the path that is meant")]
    Dots,
    /// The URL contains this unknown placeholder.
    #[error("holds {0:?}; the placeholders are {{queue}} and {{account}}")]
    Placeholder(String),
    /// The user part of the URL contains a placeholder.
    #[error("has a placeholder before the @; name the user in a header instead")]
    UserPlaceholder,
    /// This name of a header is not a token.
    #[error("no name of a header; use letters, digits and \"-\"")]
    HeaderName(String),
    /// This header is set by octoconf.
    #[error("set by octoconf in each request; leave it out")]
    HeaderReserved(String),
    /// The value of this header contains control characters.
    #[error("holds a line break or another control character; write it on one line")]
    HeaderValue(String),
    /// The value of this header contains characters that only other headers may contain.
    #[error("holds characters that are not ASCII, which this header cannot hold")]
    HeaderAscii(String),
    /// The line of this header does not fit into the buffer of a connection.
    #[error("longer than 16 KiB, which no server accepts in one header; shorten it")]
    HeaderLong(String),
    /// The signing secret is not base64.
    #[error(
        "not base64 of a key, with or without whsec_ before it, as Standard Webhooks defines it; write the secret that the partner gave out"
    )]
    Secret,
}

impl TargetError {
    /// Returns the key within the partner's section.
    pub fn key(&self) -> String {
        match self {
            Self::Scheme | Self::Invalid | Self::Dots | Self::Placeholder(_) | Self::UserPlaceholder => "url".to_owned(),
            Self::HeaderName(name)
            | Self::HeaderReserved(name)
            | Self::HeaderValue(name)
            | Self::HeaderAscii(name)
            | Self::HeaderLong(name) => format!("headers.{name}"),
            Self::Secret => "signing_secret".to_owned(),
        }
    }
}

/// Checks a URL as [`Target::new`] does. The configuration uses this to report all problems at once, each with its key.
pub fn check_url(url: &str) -> Result<(), TargetError> {
    UrlTemplate::parse(url).map(drop)
}

/// Checks that a queue of this name can be a part of the URL. A URL that is wrong in itself passes.
pub fn check_queue(url: &str, queue: &str) -> Result<(), String> {
    UrlTemplate::parse(url).map_or(Ok(()), |(url, _)| url.fill(queue, SAMPLE_ACCOUNT).map(drop))
}

/// Checks a header as [`Target::new`] does.
pub fn check_header(name: &str, value: &str) -> Result<(), TargetError> {
    header(name, value).map(drop)
}

/// Checks a signing secret as [`Target::new`] does.
pub fn check_secret(secret: &Secret) -> Result<(), TargetError> {
    signer(secret).map(drop)
}

fn signer(secret: &Secret) -> Result<Signer, TargetError> {
    Signer::new(secret).ok_or(TargetError::Secret)
}

/// Parses a header. The name must be a token (RFC 9110, 5.6.2). The value must be text (5.5), since a line break would
/// end the header and start another.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), TargetError> {
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

impl Target {
    /// Checks and parses a partner's settings.
    pub fn new(settings: &HttpSettings) -> Result<Self, TargetError> {
        let (url, authorization) = UrlTemplate::parse(&settings.url)?;
        let mut headers = HeaderMap::new();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        for (name, value) in &settings.headers {
            let (name, value) = header(name, value.expose())?;
            headers.insert(name, value);
        }
        let signer = settings.signing_secret.as_ref().map(signer).transpose()?;
        let guarded = !settings.allow_private_addresses && url.host.iter().any(Piece::is_placeholder);
        let HttpSettings { format, timeout, connect_timeout, .. } = *settings;
        let secrets = Secrets::of(settings);
        Ok(Self { url, format, timeout, connect_timeout, signer, headers, secrets, guarded })
    }

    /// Returns the URL for one bucket, without a user part.
    pub fn url(&self, queue: &str, account: &str) -> Result<Uri, NoUrl> {
        if let Some(uri) = &self.url.fixed {
            return Ok(uri.clone());
        }
        self.url.fill(queue, account).map_err(|reason| match self.url.fill(queue, SAMPLE_ACCOUNT) {
            Ok(_) => NoUrl::ForAccount(reason),
            Err(reason) => NoUrl::ForQueue(reason),
        })
    }
}

impl UrlTemplate {
    fn parse(url: &str) -> Result<(Self, Option<HeaderValue>), TargetError> {
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
        let basic = |user| basic(user).filter(|value| fits_a_line(&AUTHORIZATION, value)).ok_or(TargetError::Invalid);
        let authorization = user.map(basic).transpose()?;
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

/// Returns the user part of a URL as basic authentication (RFC 7617).
fn basic(user: &str) -> Option<HeaderValue> {
    let decoded: Vec<u8> = percent_decode_str(user).collect();
    let decoded = if decoded.contains(&b':') { decoded } else { [decoded.as_slice(), b":"].concat() };
    secret_value(&format!("Basic {}", STANDARD.encode(decoded)))
}

fn secret_value(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::testing::http_settings;

    fn target(url: &str) -> Result<Target, TargetError> {
        Target::new(&http_settings(url))
    }

    fn url(template: &str, account: &str) -> Result<String, NoUrl> {
        target(template).unwrap().url("stock", account).map(|uri| uri.to_string())
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
    fn an_account_in_the_host_is_guarded_and_changes_nothing_but_the_name() {
        assert!(target("https://{account}.example.com/").unwrap().guarded);
        assert!(!target("https://example.com/{account}").unwrap().guarded);
        let mut open = http_settings("https://{account}.example.com/");
        open.allow_private_addresses = true;
        assert!(!Target::new(&open).unwrap().guarded);

        assert_eq!(url("https://{account}.example.com/", "acme").unwrap(), "https://acme.example.com/");
        for account in ["a@b", "a:80", "a/b", "[::1]", "a b", "é", "a#", "a\r\nevil: 1", "%31", ""] {
            assert!(url("https://{account}.example.com/", account).is_err(), "{account}");
        }
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

    #[test]
    fn a_queue_that_fits_no_host_condemns_no_account() {
        let of = |url: &str, queue: &str| target(url).unwrap().url(queue, "acme");
        for (template, queue) in
            [("http://{queue}.example.com/", "my_queue"), ("http://h/{queue}/", ".."), ("http://h/{queue}/", ".")]
        {
            assert!(matches!(of(template, queue), Err(NoUrl::ForQueue(_))), "{queue}");
            assert!(check_queue(template, queue).is_err(), "{queue}");
        }
        assert!(of("http://h/{queue}/", "my_queue").is_ok());
        assert_eq!(check_queue("http://h/{queue}/", "my queue"), Ok(()));
    }

    #[test]
    fn the_user_part_becomes_a_header_and_leaves_the_url() {
        let target = target("https://us%65r:p%40ss@example.com/x").unwrap();
        assert_eq!(target.url("q", "a").unwrap().to_string(), "https://example.com/x");
        assert_eq!(target.headers[AUTHORIZATION], format!("Basic {}", STANDARD.encode("user:p@ss")));
        assert!(!format!("{:?}", target.headers).contains("Basic"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused_without_their_secrets() {
        for (url, error) in [
            ("", TargetError::Scheme),
            ("ftp://x", TargetError::Scheme),
            ("http://", TargetError::Invalid),
            ("http://a b/", TargetError::Invalid),
            ("http://h/{acount}", TargetError::Placeholder("{acount}".into())),
            ("http://h/}", TargetError::Placeholder("}".into())),
            ("http://{account}:key@h/", TargetError::UserPlaceholder),
            ("http://h/../x?key", TargetError::Dots),
            ("http://h/{account}/.", TargetError::Dots),
            ("http://\u{fc}.com/", TargetError::Invalid),
            ("http://[::1/", TargetError::Invalid),
            ("http://h/<x>", TargetError::Invalid),
            ("http://h/a|b", TargetError::Invalid),
            ("http://h/?\u{e9}", TargetError::Invalid),
        ] {
            assert_eq!(target(url).err(), Some(error), "{url}");
        }
        let with_header = |name: &str, value: &str| {
            let mut settings = http_settings("http://h/");
            settings.headers.insert(name.into(), Secret::new(value));
            Target::new(&settings).err()
        };
        assert_eq!(with_header("x-key", "ok"), None);
        assert_eq!(with_header("x key", "ok"), Some(TargetError::HeaderName("x key".into())));
        assert_eq!(with_header("Webhook-ID", "ok"), Some(TargetError::HeaderReserved("Webhook-ID".into())));
        assert_eq!(with_header("Authorization", "Bearer \u{e9}"), Some(TargetError::HeaderAscii("Authorization".into())));
        assert_eq!(with_header("x-name", "\u{e9}"), None);
        assert_eq!(with_header("x-key", &"k".repeat(16 * 1024)), Some(TargetError::HeaderLong("x-key".into())));
        assert_eq!(target(&format!("http://h/?{}", "k".repeat(16 * 1024))).err(), Some(TargetError::Invalid));
        assert_eq!(target(&format!("http://{}@h/", "k".repeat(16 * 1024))).err(), Some(TargetError::Invalid));
        assert_eq!(with_header("x-key", "a\r\nb: c"), Some(TargetError::HeaderValue("x-key".into())));
        let mut unsigned = http_settings("http://h/");
        unsigned.signing_secret = Some(Secret::new("whsec_!!!"));
        let error = Target::new(&unsigned).err().unwrap();
        assert_eq!((error.key().as_str(), error), ("signing_secret", TargetError::Secret));
    }
}
