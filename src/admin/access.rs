//! Decides which requests may see accounts and act upon partners.

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

use crate::settings::Secret;

use super::request::Request;
use super::response::Response;

/// The rules of access, shared by the threads of the server.
pub struct Access {
    /// The configured token; a reload replaces it.
    token: Mutex<Option<Secret>>,
    /// Whether the server listens on a loopback address.
    is_loopback: bool,
}

/// What a request wants and may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To read an answer that names partners.
    SeeAccounts,
    /// To change something.
    Act,
}

impl Access {
    /// Creates the rules of a server that listens on a loopback address or not.
    pub fn new(token: Option<Secret>, is_loopback: bool) -> Self {
        Self { token: Mutex::new(token), is_loopback }
    }

    /// Replaces the token.
    pub fn replace(&self, token: Option<Secret>) {
        *self.token.lock() = token;
    }

    /// Returns the refusal of a request that may not have what it wants, or `None` if it may.
    pub fn refuses(&self, request: &Request, wish: Wish) -> Option<Response> {
        if self.is_loopback && !is_ours(request.host.as_deref()) {
            return Some(Response::refusal(
                421,
                "this host name is not of this machine; ask by its address, by localhost, or have the proxy send one of these as Host",
            ));
        }
        let token = self.token.lock().clone();
        match (token, wish) {
            (_, Wish::SeeAccounts) if self.is_loopback => None,
            (None, Wish::Act) => Some(Response::refusal(403, "no admin.token is configured: nothing can be changed from here")),
            // The `check` command refuses such a configuration, but the address may resolve to another one by now.
            (None, Wish::SeeAccounts) => {
                Some(Response::refusal(403, "accounts are shown beyond loopback only with an admin.token"))
            }
            (Some(token), _) => {
                let given = request.authorization.as_deref().and_then(bearer);
                let refusal = || {
                    let why = if given.is_none() {
                        "this needs the admin token: Authorization: Bearer TOKEN"
                    } else {
                        "the token is wrong"
                    };
                    Response::refusal(401, why).with("www-authenticate: Bearer\r\n")
                };
                (!given.is_some_and(|given| is_same(given, token.expose().as_bytes()))).then(refusal)
            }
        }
    }
}

/// Returns whether the client looked up a name for this machine. A page of another origin may have made its own
/// name resolve to loopback, so as to read through the browser of a person at this machine (DNS rebinding).
/// Such a name contains a dot.
fn is_ours(host: Option<&str>) -> bool {
    let Some(host) = host else { return true };
    if host.starts_with('[') {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    !name.contains('.') || name.parse::<std::net::IpAddr>().is_ok() || name.to_ascii_lowercase().ends_with(".localhost")
}

/// Returns the token of `Bearer TOKEN` (RFC 6750). The scheme may be in any case (RFC 9110, 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.trim_ascii().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Compares in a time that depends neither on where the two differ nor on how long they are: their digests are
/// compared, in constant time.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let digest = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(b"octoconf admin token"));
    match (digest(given), digest(token)) {
        (Ok(given), Ok(token)) => token.verify_slice(&given.finalize().into_bytes()).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(token: Option<&str>, is_loopback: bool, authorization: Option<&str>, wish: Wish) -> u16 {
        let access = Access::new(token.map(Secret::new), is_loopback);
        let request = Request { authorization: authorization.map(|text| text.as_bytes().to_vec()), ..Request::default() };
        access.refuses(&request, wish).map_or(200, |response| response.status())
    }

    #[test]
    fn to_act_needs_the_token_and_without_one_nobody_may() {
        let act = |given| status(Some("t0ken"), true, given, Wish::Act);
        assert_eq!([act(Some("Bearer t0ken")), act(Some("bearer  t0ken ")), act(Some("BEARER t0ken"))], [200; 3]);
        let wrong = [
            None,
            Some(""),
            Some("t0ken"),
            Some("Basic t0ken"),
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer t0kenn"),
            Some("Bearer t0ke"),
        ];
        assert_eq!(wrong.map(act), [401; 8]);
        assert_eq!(status(None, true, Some("Bearer "), Wish::Act), 403);
    }

    #[test]
    fn a_replaced_token_opens_nothing_any_more() {
        let access = Access::new(Some(Secret::new("old")), true);
        let request = Request { authorization: Some(b"Bearer old".to_vec()), ..Request::default() };
        assert!(access.refuses(&request, Wish::Act).is_none());
        access.replace(Some(Secret::new("new")));
        assert!(access.refuses(&request, Wish::Act).is_some());
    }

    #[test]
    fn accounts_are_shown_on_loopback_and_with_the_token() {
        assert_eq!(status(None, true, None, Wish::SeeAccounts), 200);
        assert_eq!(status(Some("t"), true, None, Wish::SeeAccounts), 200);
        assert_eq!(status(Some("t"), false, None, Wish::SeeAccounts), 401);
        assert_eq!(status(Some("t"), false, Some("Bearer t"), Wish::SeeAccounts), 200);
        assert_eq!(status(None, false, None, Wish::SeeAccounts), 403);
    }

    #[test]
    fn a_name_that_a_stranger_had_lead_here_is_not_ours() {
        for host in ["localhost:9464", "localhost", "127.0.0.1:9464", "10.0.0.7", "[::1]:9464", "octo:9464", "a.localhost:1"] {
            assert!(is_ours(Some(host)), "{host}");
        }
        for host in ["evil.example:9464", "127.0.0.1.evil.example", "evil.example.", "localhost.evil.example:80"] {
            assert!(!is_ours(Some(host)), "{host}");
        }
    }
}
