//! The target of a partner's requests: its settings, checked and parsed once.
//!
//! Pure.

use std::time::Duration;

use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderMap, Uri};

pub use self::error::TargetError;
use self::header::header;
pub use self::url::NoUrl;
use self::url::UrlTemplate;
use super::secrets::Secrets;
use super::signature::Signer;
use crate::settings::{Format, HttpSettings, Secret, within_reach};

mod error;
mod header;
mod url;

/// One partner's settings in the form in which requests need them.
pub struct Target {
    url: UrlTemplate,
    /// The format of the body.
    pub format: Format,
    /// How long sending and receiving the whole answer may take.
    pub timeout: Duration,
    /// How long the look-up, the connection and the TLS handshake may take together.
    pub connect_timeout: Duration,
    /// Signs requests; `None` if the partner has no signing secret.
    pub signer: Option<Signer>,
    /// The configured headers, and the user part of the URL as `authorization`. All are marked as sensitive.
    pub headers: HeaderMap,
    /// The secrets that must not appear in an excerpt of an answer.
    pub secrets: Secrets,
    /// Whether the account or the queue chooses the host, so that only public addresses are allowed.
    pub guarded: bool,
}

/// Checks a URL as [`Target::new`] does. The configuration uses this to report all problems at once, each with its key.
pub fn check_url(url: &str) -> Result<(), TargetError> {
    UrlTemplate::parse(url).map(drop)
}

/// Checks that a queue of this name can be a part of the URL. A URL that is wrong in itself passes.
pub fn check_queue(url: &str, queue: &str) -> Result<(), String> {
    UrlTemplate::parse(url).map_or(Ok(()), |(url, _)| url.check_queue(queue))
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
        let guarded = !settings.allow_private_addresses && url.has_open_host();
        let HttpSettings { format, .. } = *settings;
        let [timeout, connect_timeout] = [settings.timeout, settings.connect_timeout].map(within_reach);
        let secrets = Secrets::of(settings);
        Ok(Self { url, format, timeout, connect_timeout, signer, headers, secrets, guarded })
    }

    /// Returns the URL for one bucket, without a user part.
    pub fn url(&self, queue: &str, account: &str) -> Result<Uri, NoUrl> {
        self.url.url(queue, account)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::sink::testing::http_settings;

    fn target(url: &str) -> Result<Target, TargetError> {
        Target::new(&http_settings(url))
    }

    fn url(template: &str, account: &str) -> Result<String, NoUrl> {
        target(template).unwrap().url("stock", account).map(|uri| uri.to_string())
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
