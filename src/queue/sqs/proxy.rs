//! The proxy on the way to SQS and STS, as the environment names it. Read when connections are prepared; makes no request.

use std::sync::Once;

use ureq::{Proxy, ProxyProtocol};

use crate::environment::Environment;

/// The variables that may name a proxy: as with curl, one for the protocol of the requests before one for all of them. AWS is
/// asked by HTTPS.
const NAMES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];

/// Returns the proxy that the environment names, if requests can be made through it. Says so in the log, once, if it names
/// only others.
pub fn of_environment() -> Option<Proxy> {
    static WARNED: Once = Once::new();
    named_by(&Environment::of_process()).unwrap_or_else(|name| {
        WARNED.call_once(|| {
            log::warn!(
                "{name} names no HTTP proxy: requests to SQS and STS go without a proxy; set HTTPS_PROXY to an http:// or https:// URL"
            );
        });
        None
    })
}

/// Returns the first proxy that can be used, with the hosts of `NO_PROXY`. If all are of another kind, SOCKS for example,
/// the error is the name of the first variable.
fn named_by(environment: &Environment) -> Result<Option<Proxy>, &'static str> {
    let mut unusable = None;
    for name in NAMES {
        let Some(url) = environment.get(name).map(str::trim).filter(|url| !url.is_empty()) else { continue };
        match Proxy::new(url) {
            Ok(proxy) if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) => {
                let around = environment.get("NO_PROXY").or_else(|| environment.get("no_proxy"));
                return Ok(Some(around.and_then(|hosts| with_hosts_around(&proxy, hosts).ok()).unwrap_or(proxy)));
            }
            _ => _ = unusable.get_or_insert(name),
        }
    }
    unusable.map_or(Ok(None), Err)
}

/// Returns the proxy for all but these hosts, a list with commas.
fn with_hosts_around(proxy: &Proxy, hosts: &str) -> Result<Proxy, ureq::Error> {
    let mut same = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    if let Some(user) = proxy.username() {
        same = same.username(user);
    }
    if let Some(password) = proxy.password() {
        same = same.password(password);
    }
    let hosts = hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
    hosts.fold(same, |same, host| same.no_proxy(host)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(variables: &[(&str, &str)]) -> Result<Option<String>, &'static str> {
        let found = named_by(&variables.iter().copied().collect());
        found.map(|proxy| proxy.map(|proxy| format!("{}://{}:{}", proxy.protocol(), proxy.host(), proxy.port())))
    }

    #[test]
    fn the_first_that_can_be_used_is_used() {
        let http = |port: u16| Ok(Some(format!("HTTP://proxy:{port}")));
        assert_eq!(named(&[]), Ok(None));
        assert_eq!(named(&[("ALL_PROXY", "socks5://other:1080"), ("HTTPS_PROXY", "http://proxy:1")]), http(1));
        assert_eq!(named(&[("HTTPS_PROXY", "socks5h://other"), ("all_proxy", "http://proxy:2")]), http(2));
        assert_eq!(named(&[("ALL_PROXY", "http://proxy:3"), ("https_proxy", "proxy:4")]), http(4));
        assert_eq!(named(&[("ALL_PROXY", ""), ("http_proxy", "http://proxy:5")]), http(5));
        assert_eq!(named(&[("HTTPS_PROXY", "https://proxy")]), Ok(Some("HTTPS://proxy:443".to_owned())));
        for other in ["socks5://other:1080", "ftp://other", "http://"] {
            assert_eq!(named(&[("ALL_PROXY", other)]), Err("ALL_PROXY"), "{other}");
        }
    }

    #[test]
    fn the_hosts_of_no_proxy_are_asked_without_it() {
        let all = [("HTTPS_PROXY", "http://us%40er:p%3Aw@proxy:1"), ("NO_PROXY", "localhost, .internal")];
        let proxy = named_by(&all.into_iter().collect()).unwrap().unwrap();
        assert_eq!((proxy.host(), proxy.port(), proxy.username(), proxy.password()), ("proxy", 1, Some("us@er"), Some("p:w")));
        let around = |url: &str| proxy.is_no_proxy(&url.parse().unwrap());
        assert!(around("http://localhost:4566/") && around("https://sqs.internal/"));
        assert!(!around("https://sqs.eu-west-1.amazonaws.com/"));
    }
}
