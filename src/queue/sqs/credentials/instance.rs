//! Keys of an EC2 instance, from version 2 of its metadata service: first a session
//! token by PUT, then the role, then its keys. All requests run on the calling thread.
//!
//! Version 1, which needs no token, is not supported, because a forged request to this address would use it.

use ureq::http::Method;

use super::document::Document;
use super::web::{Ask, Reply, Web, Whereabouts};
use super::{CredentialsError, Keys, Surroundings};
use crate::mask::mask_url;

const FROM: &str = "instance metadata";
const ADDRESS: &str = "http://169.254.169.254";
const ADDRESS_V6: &str = "http://[fd00:ec2::254]";
/// The number of attempts for the token. Lost answers of a service this near
/// are rare; a second attempt tells them from a service that does not exist.
const MAX_TRIES: usize = 2;
/// How long the session token is valid, in seconds: it serves the two requests that follow.
const TOKEN_SECS: &str = "60";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Returns whether `AWS_EC2_METADATA_DISABLED` turns this source off.
pub fn is_disabled(surroundings: &Surroundings) -> bool {
    surroundings.is_true("AWS_EC2_METADATA_DISABLED")
}

/// Asks the service for keys. Blocks for at most four short timeouts; if there is no such service, for two.
pub fn keys(surroundings: &Surroundings, web: &Web) -> Result<Keys, CredentialsError> {
    if is_disabled(surroundings) {
        return Err(CredentialsError::misconfigured(FROM, "AWS_EC2_METADATA_DISABLED turns it off; unset it"));
    }
    let service = Service { endpoint: endpoint(surroundings), surroundings, web };
    let token = service.token()?;
    let role = service.get(ROLES, &token, "the instance has no role; attach an instance profile")?;
    // The answer has one role per line; there has never been more than one.
    let role = role.lines().next().unwrap_or_default().trim();
    let named = !role.is_empty() && role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte));
    if !named {
        return Err(CredentialsError::malformed(
            FROM,
            format!("what {} names is no role; check the endpoint", mask_url(&service.endpoint)),
        ));
    }
    let text = service.get(&format!("{ROLES}{role}"), &token, "the role is gone; attach it again")?;
    let document = Document::parse(FROM, &text)?;
    match document.code.as_deref() {
        None | Some("Success") => document.keys(FROM),
        Some(_) => Err(CredentialsError::refused(
            FROM,
            "it has no keys for the role of this instance; check the role and its trust policy",
        )),
    }
}

struct Service<'a> {
    endpoint: String,
    surroundings: &'a Surroundings,
    web: &'a Web,
}

impl Service<'_> {
    fn token(&self) -> Result<String, CredentialsError> {
        let headers = || vec![("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECS.to_owned())];
        let mut tries = 1;
        let reply = loop {
            match self.ask(Method::PUT, "/latest/api/token", headers()) {
                Err(error) if error.is_transient() && tries < MAX_TRIES => tries += 1,
                answered => break answered?,
            }
        };
        match reply.status {
            200 => Ok(reply.body),
            code => Err(self.denied(code, "it is turned off, or is no metadata service")),
        }
    }

    fn get(&self, path: &str, token: &str, if_missing: &str) -> Result<String, CredentialsError> {
        let reply = self.ask(Method::GET, path, vec![("x-aws-ec2-metadata-token", token.to_owned())])?;
        match reply.status {
            200 => Ok(reply.body),
            404 => Err(CredentialsError::refused(FROM, if_missing)),
            code => Err(self.denied(code, "check the endpoint")),
        }
    }

    fn denied(&self, code: u16, why: &str) -> CredentialsError {
        let text = format!("{} answered {code}", mask_url(&self.endpoint));
        match code {
            429 | 500.. => CredentialsError::unreachable(FROM, text),
            _ => CredentialsError::refused(FROM, format!("{text}; {why}")),
        }
    }

    fn ask(&self, method: Method, path: &str, headers: Vec<(&'static str, String)>) -> Result<Reply, CredentialsError> {
        let url = format!("{}{path}", self.endpoint);
        self.web.ask(Ask {
            from: FROM,
            at: Whereabouts::Near,
            method,
            url: &url,
            headers,
            body: b"",
            patience: self.surroundings.patience.instance,
        })
    }
}

fn endpoint(surroundings: &Surroundings) -> String {
    if let Some(endpoint) = surroundings.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
        return endpoint.trim_end_matches('/').to_owned();
    }
    let mode = surroundings.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").unwrap_or_default();
    if mode.eq_ignore_ascii_case("ipv6") { ADDRESS_V6.to_owned() } else { ADDRESS.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{Seen, Server, now, ok, status, surroundings};
    use super::*;

    const KEYS: &str =
        r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"hush","Token":"T","Expiration":"2026-01-01T06:00:00Z"}"#;

    fn service(seen: &Seen, role: &str, keys: &str) -> String {
        let known = seen.header("x-aws-ec2-metadata-token") == Some("session");
        match seen.line.as_str() {
            "PUT /latest/api/token" if seen.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => ok("session"),
            "GET /latest/meta-data/iam/security-credentials/" if known => ok(role),
            "GET /latest/meta-data/iam/security-credentials/my-role" if known => ok(keys),
            _ => status(401, ""),
        }
    }

    fn ask(endpoint: &str) -> Result<Keys, CredentialsError> {
        let mut world = surroundings(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)]);
        world.patience.instance = Duration::from_secs(60);
        keys(&world, &Web::new())
    }

    #[test]
    fn the_token_comes_first_and_goes_along() {
        let server = Server::start(|seen| service(seen, "my-role\n", KEYS));
        let keys = ask(&format!("{}/", server.url)).unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.expires_at), ("A", Some(now() + Duration::from_secs(6 * 3600))));
        assert_eq!(server.requests().len(), 3);
    }

    #[test]
    fn an_answer_without_keys_is_an_error_that_quotes_nothing() {
        let failed = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"hush"}"#;
        for (role, keys, expected) in [
            ("my-role", failed, "check the role"),
            ("my-role", KEYS.get(..70).unwrap(), "breaks off"),
            ("", KEYS, "no role"),
            ("../../user-data", KEYS, "no role"),
            ("<html>hush", KEYS, "no role"),
        ] {
            let server = Server::start(move |seen| service(seen, role, keys));
            let error = ask(&server.url).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn an_instance_without_a_role_and_a_service_turned_off_are_told_apart() {
        let roleless = Server::start(|seen| if seen.line.starts_with("PUT") { ok("session") } else { status(404, "") });
        assert!(ask(&roleless.url).unwrap_err().to_string().contains("attach an instance profile"));
        let off = Server::start(|_| status(403, ""));
        assert!(ask(&off.url).unwrap_err().to_string().contains("turned off"));
        let busy = Server::start(|_| status(503, ""));
        assert!(ask(&busy.url).unwrap_err().is_transient());
    }

    #[test]
    fn silence_is_tried_twice_and_ends() {
        let server = Server::silent();
        let mut world = surroundings(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]);
        world.patience.instance = Duration::from_millis(20);
        let error = keys(&world, &Web::new()).unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("did not answer within 20ms"), "{error}");
    }

    #[test]
    fn it_is_asked_where_variables_say_or_not_at_all() {
        assert_eq!(endpoint(&surroundings(&[])), ADDRESS);
        assert_eq!(endpoint(&surroundings(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")])), ADDRESS_V6);
        let off = surroundings(&[("AWS_EC2_METADATA_DISABLED", "TRUE")]);
        assert!(matches!(keys(&off, &Web::new()), Err(CredentialsError::Misconfigured { .. })));
    }
}
