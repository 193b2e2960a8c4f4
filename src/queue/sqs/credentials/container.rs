//! Keys of a task or pod: from the agent of ECS, or of EKS Pod Identity. One request on the calling thread.
//!
//! The request carries a token, so it may only go to an agent: over
//! plain HTTP to the addresses that AWS names and to loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::{Method, Uri};

use super::document::Document;
use super::surroundings::read_token;
use super::web::{Ask, Web, Whereabouts};
use super::{CredentialsError, Keys, Surroundings};

const FROM: &str = "container";
const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// Returns whether this is a container that has a role.
pub fn is_set_up(surroundings: &Surroundings) -> bool {
    surroundings.variable(RELATIVE).is_some() || surroundings.variable(FULL).is_some()
}

/// Asks the agent for keys. Blocks for one request.
pub fn keys(surroundings: &Surroundings, web: &Web) -> Result<Keys, CredentialsError> {
    let url = url(surroundings)?;
    let headers = token(surroundings)?.map(|token| ("authorization", token)).into_iter().collect();
    let patience = surroundings.patience.service;
    let reply =
        web.ask(Ask { from: FROM, at: Whereabouts::Near, method: Method::GET, url: &url, headers, body: b"", patience })?;
    match reply.status {
        200 => Document::parse(FROM, &reply.body)?.keys(FROM),
        429 | 500.. => {
            Err(CredentialsError::unreachable(FROM, format!("its agent answered {}; it is asked again", reply.status)))
        }
        code => {
            let why = format!("its agent answered {code}; check that the task or pod has a role, and {TOKEN_FILE}");
            Err(CredentialsError::refused(FROM, why))
        }
    }
}

fn url(surroundings: &Surroundings) -> Result<String, CredentialsError> {
    if let Some(path) = surroundings.variable(RELATIVE) {
        // Any other text would change the host when it is appended to it.
        if !path.starts_with('/') {
            return Err(CredentialsError::misconfigured(FROM, format!("{RELATIVE} must begin with a slash")));
        }
        return Ok(format!("{}{path}", surroundings.container_host));
    }
    let url = surroundings.variable(FULL).ok_or_else(|| {
        CredentialsError::misconfigured(
            FROM,
            format!("neither {RELATIVE} nor {FULL} is set; ECS and EKS set them where there is a role"),
        )
    })?;
    let parsed: Option<Uri> = url.parse().ok();
    if !parsed.is_some_and(|uri| may_be_asked(&uri)) {
        let problem = format!(
            "{FULL} must be https, or http to loopback, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]: a token is sent there"
        );
        return Err(CredentialsError::misconfigured(FROM, problem));
    }
    Ok(url.to_owned())
}

fn may_be_asked(uri: &Uri) -> bool {
    let Some(host) = uri.host() else { return false };
    match uri.scheme_str() {
        Some("https") => true,
        // No look-up may resolve this name to another machine (RFC 6761, section 6.3).
        Some("http") if host.eq_ignore_ascii_case("localhost") => true,
        Some("http") => host.trim_matches(['[', ']']).parse().is_ok_and(is_agent),
        _ => false,
    }
}

fn is_agent(address: IpAddr) -> bool {
    const ECS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
    const EKS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 23);
    const EKS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23);
    address.is_loopback() || [IpAddr::V4(ECS), IpAddr::V4(EKS), IpAddr::V6(EKS_V6)].contains(&address)
}

/// Returns the token to send, if one is set up. The token file is replaced every
/// few hours, so it is read each time; it takes precedence over a fixed token.
fn token(surroundings: &Surroundings) -> Result<Option<String>, CredentialsError> {
    match surroundings.variable(TOKEN_FILE) {
        Some(path) => {
            let token =
                read_token(path).map_err(|problem| CredentialsError::misconfigured(FROM, format!("{TOKEN_FILE}: {problem}")))?;
            Ok(Some(token))
        }
        None => Ok(surroundings.variable(TOKEN).map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Server, ok, status, surroundings};
    use super::*;

    const KEYS: &str =
        r#"{"AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2026-01-01T06:00:00Z","RoleArn":"R"}"#;

    fn ask(surroundings: &Surroundings) -> Result<Keys, CredentialsError> {
        keys(surroundings, &Web::new())
    }

    #[test]
    fn a_relative_uri_is_asked_of_the_agent_of_ecs() {
        let server = Server::start(|_| ok(KEYS));
        let mut world = surroundings(&[(RELATIVE, "/v2/credentials/x"), (TOKEN, "t")]);
        world.container_host = server.url.clone();
        assert_eq!(ask(&world).unwrap().access_key_id, "A");
        let [seen] = &server.requests()[..] else { panic!("one request") };
        assert_eq!((seen.line.as_str(), seen.header("authorization")), ("GET /v2/credentials/x", Some("t")));
    }

    #[test]
    fn the_token_file_is_read_anew_each_time() {
        let server = Server::start(|_| ok(KEYS));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let url = format!("{}/v1/credentials", server.url);
        let world = surroundings(&[(FULL, &url), (TOKEN_FILE, file.to_str().unwrap()), (TOKEN, "fixed")]);
        for token in ["one\n", "two\r\n"] {
            std::fs::write(&file, token).unwrap();
            ask(&world).unwrap();
        }
        let tokens: Vec<_> = server.requests().iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect();
        assert_eq!(tokens, ["one", "two"]);

        std::fs::write(&file, "hush\r\nevil: 1\n").unwrap();
        let error = ask(&world).unwrap_err().to_string();
        assert!(error.contains("line break") && !error.contains("hush"), "{error}");
        assert_eq!(server.requests().len(), 2);
    }

    #[test]
    fn a_token_goes_to_agents_alone() {
        for url in [
            "https://example.com/x",
            "http://localhost:1/x",
            "http://127.0.0.5/x",
            "http://[::1]:80/x",
            "http://169.254.170.2/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/x",
        ] {
            assert!(may_be_asked(&url.parse().unwrap()), "{url}");
        }
        for url in [
            "http://example.com/x",
            "http://169.254.169.254/x",
            "http://localhost.example.com/x",
            "http://[fd00:ec2::254]/x",
            "http://127.0.0.1@example.com/x",
            "/x",
        ] {
            assert!(!may_be_asked(&url.parse().unwrap()), "{url}");
        }
        for variables in [[(FULL, "http://10.0.0.1/x")], [(FULL, "nonsense \n")], [(RELATIVE, "@10.0.0.1/x")]] {
            assert!(matches!(ask(&surroundings(&variables)), Err(CredentialsError::Misconfigured { .. })));
        }
    }

    #[test]
    fn an_agent_that_gives_none_is_heard() {
        for (code, transient) in [(400, false), (403, false), (404, false), (429, true), (500, true), (503, true)] {
            let server = Server::start(move |_| status(code, "{\"message\":\"hush\"}"));
            let error = ask(&surroundings(&[(FULL, &server.url)])).unwrap_err();
            assert_eq!(error.is_transient(), transient, "{error}");
            assert!(error.to_string().contains(&code.to_string()) && !error.to_string().contains("hush"), "{error}");
        }
        let server = Server::start(|_| ok(KEYS.get(..60).unwrap()));
        let error = ask(&surroundings(&[(FULL, &server.url)])).unwrap_err();
        assert!(matches!(error, CredentialsError::Malformed { .. }), "{error}");
    }
}
