//! Roles, assumed at AWS's Security Token Service: with keys (`AssumeRole`, signed) or with a token of an
//! identity provider (`AssumeRoleWithWebIdentity`, unsigned). Each is one request on the calling thread.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use ureq::http::{Method, Uri};

use super::plan::Role;
use super::region::{ProfileEnv, dns_suffix};
use super::sigv4::{Scope, sign_post};
use super::surroundings::read_token;
use super::web::{Ask, Web, Whereabouts};
use super::{CredentialsError, Keys, Surroundings, document};
use crate::mask::hide;
use crate::mask::mask_url;

/// All characters except the unreserved ones of RFC 3986 (section 2.3).
const IN_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const FORM: &str = "application/x-www-form-urlencoded";
/// The largest number of bytes of STS's own message that are quoted.
const LONGEST_MESSAGE: usize = 300;

/// STS at the place where this process is to use it.
pub struct Sts<'a> {
    surroundings: &'a Surroundings,
    web: &'a Web,
    url: String,
    region: String,
}

impl<'a> Sts<'a> {
    /// Chooses the service of the region in use. Without a region, it is the
    /// service for all regions, whose requests are signed for `us-east-1`.
    pub fn new(surroundings: &'a Surroundings, web: &'a Web, env: &ProfileEnv<'_>) -> Self {
        let (host, region) = match env.region() {
            Some(region) => (format!("sts.{region}.{}", dns_suffix(region)), region),
            None => ("sts.amazonaws.com".to_owned(), "us-east-1"),
        };
        let url = env.endpoint("sts").map_or_else(|| format!("https://{host}/"), |url| format!("{}/", url.trim_end_matches('/')));
        Self { surroundings, web, url, region: region.to_owned() }
    }

    /// Assumes a role with these keys. Blocks for one request.
    pub fn assume(&self, role: &Role, keys: &Keys) -> Result<Keys, CredentialsError> {
        let from = format!("role {}", role.arn);
        let mut form = self.form("AssumeRole", role);
        form.extend(role.external_id.as_deref().map(|id| ("ExternalId", id.to_owned())));
        self.ask(&from, &form, Some(keys))
    }

    /// Assumes a role with the token in a file, which is read each time
    /// because Kubernetes replaces it every hour. Blocks for one request.
    pub fn assume_with_token(&self, role: &Role, token_file: &str) -> Result<Keys, CredentialsError> {
        let from = format!("web identity for role {}", role.arn);
        let token = read_token(token_file).map_err(|problem| CredentialsError::misconfigured(&from, problem))?;
        let mut form = self.form("AssumeRoleWithWebIdentity", role);
        form.push(("WebIdentityToken", token));
        self.ask(&from, &form, None)
    }

    fn form(&self, action: &str, role: &Role) -> Vec<(&'static str, String)> {
        let seconds = self.surroundings.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let session = role.session_name.clone().unwrap_or_else(|| format!("octoconf-{seconds}"));
        let mut form = vec![
            ("Action", action.to_owned()),
            ("Version", "2011-06-15".to_owned()),
            ("RoleArn", role.arn.clone()),
            ("RoleSessionName", session),
        ];
        form.extend(role.duration.clone().map(|seconds| ("DurationSeconds", seconds)));
        form
    }

    fn ask(&self, from: &str, form: &[(&str, String)], keys: Option<&Keys>) -> Result<Keys, CredentialsError> {
        let pairs = form.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, IN_FORM)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let mut headers = vec![("content-type", FORM.to_owned())];
        if let Some(keys) = keys {
            let uri: Option<Uri> = self.url.parse().ok();
            let authority = uri.as_ref().and_then(Uri::authority).map_or("", |authority| authority.as_str());
            let host = authority.rsplit('@').next().unwrap_or_default();
            let scope = Scope { region: &self.region, service: "sts", at: self.surroundings.now() };
            headers.extend(sign_post(keys, &scope, &[("content-type", FORM), ("host", host)], body.as_bytes()));
        }
        let patience = self.surroundings.patience.service;
        let ask =
            Ask { from, at: Whereabouts::Far, method: Method::POST, url: &self.url, headers, body: body.as_bytes(), patience };
        let reply = self.web.ask(ask)?;
        let Some(fields) = fields(&reply.body) else {
            let (url, status) = (mask_url(&self.url), reply.status);
            let problem = format!("{url} answered {status} with incomplete XML or none; check the endpoint");
            return Err(CredentialsError::malformed(from, problem));
        };
        match reply.status {
            200 => keys_of(from, fields),
            status => {
                let token = form.iter().filter(|(name, _)| *name == "WebIdentityToken").map(|(_, token)| token.as_str());
                let secrets = keys.into_iter().flat_map(Keys::secrets).chain(token);
                let message = hide(fields.get("Message").cloned().unwrap_or_default(), secrets);
                Err(refusal(from, status, fields.get("Code").map_or("", String::as_str), &message))
            }
        }
    }
}

/// The texts of an answer's elements by name; no name that matters occurs twice.
type Fields = BTreeMap<String, String>;

/// Reads the elements; `None` if the text is not complete XML.
fn fields(xml: &str) -> Option<Fields> {
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<String> = Vec::new();
    let mut fields = Fields::new();
    loop {
        let text = match reader.read_event().ok()? {
            Event::Start(tag) => {
                open.push(tag.local_name().as_ref().to_owned());
                continue;
            }
            Event::End(_) => {
                open.pop();
                continue;
            }
            Event::Eof => return (open.is_empty() && !fields.is_empty()).then_some(fields),
            Event::Text(text) => text.xml10_content().into_owned(),
            Event::CData(text) => text.xml10_content().into_owned(),
            Event::GeneralRef(entity) => match entity.resolve_char_ref().ok()? {
                Some(character) => character.to_string(),
                None => resolve_xml_entity(&entity.xml10_content())?.to_owned(),
            },
            _ => continue,
        };
        if let Some(name) = open.last() {
            fields.entry(name.clone()).or_default().push_str(&text);
        }
    }
}

fn keys_of(from: &str, mut fields: Fields) -> Result<Keys, CredentialsError> {
    let mut take = |name: &str| {
        let value = fields.remove(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| CredentialsError::malformed(from, format!("the answer of STS has no {name}; check the endpoint")))
    };
    let end = take("Expiration")?;
    let expires_at = document::time(&end)
        .ok_or_else(|| CredentialsError::malformed(from, "the Expiration that STS gave is not a time; check the endpoint"))?;
    Ok(Keys {
        access_key_id: take("AccessKeyId")?,
        secret_access_key: take("SecretAccessKey")?,
        session_token: Some(take("SessionToken")?),
        expires_at: Some(expires_at),
    })
}

/// Converts an answer other than 200: AWS's code, its message, and what to do about it.
fn refusal(from: &str, status: u16, code: &str, message: &str) -> CredentialsError {
    let message = first_line(message);
    let what_to_do = match code {
        "SignatureDoesNotMatch" | "RequestExpired" => "check the clock of this machine, and check the secret key",
        "InvalidClientTokenId" | "ExpiredToken" => "renew the keys that the role is assumed with",
        "ExpiredTokenException" | "InvalidIdentityToken" => "check what renews the token file, and the role's identity provider",
        "RegionDisabledException" => "turn STS on for this region, or choose another",
        _ => "check the role's trust policy and the rights of the one who assumes it",
    };
    let transient =
        status == 429 || status >= 500 || matches!(code, "Throttling" | "ThrottlingException" | "IDPCommunicationError");
    if transient {
        return CredentialsError::unreachable(from, format!("STS answered {status} {code}: {message}"));
    }
    CredentialsError::refused(from, format!("STS answered {status} {code}: {message}; {what_to_do}"))
}

/// Returns the first line of AWS's message, cut to [`LONGEST_MESSAGE`].
/// Further lines may repeat the request, with the token that it was made with.
fn first_line(message: &str) -> String {
    let line = message.trim_start().lines().next().unwrap_or_default();
    let line = line.get(..line.floor_char_boundary(LONGEST_MESSAGE)).unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::profiles::Profiles;
    use super::super::testing::{Server, keys, now, ok, status, surroundings};
    use super::*;

    const KEYS: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
        <AssumedRoleUser><Arn>arn</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>hush</SecretAccessKey>
        <SessionToken>a&amp;b&#43;c</SessionToken><Expiration>2026-01-01T01:00:00Z</Expiration></Credentials></AssumeRoleResult>
        </AssumeRoleResponse>"#;

    fn role() -> Role {
        Role {
            profile: "p".into(),
            arn: "arn:aws:iam::1:role/r".into(),
            session_name: None,
            external_id: Some("a b&c".into()),
            duration: Some("900".into()),
        }
    }

    fn assume(server: &Server) -> Result<Keys, CredentialsError> {
        let world = surroundings(&[("AWS_ENDPOINT_URL_STS", &server.url), ("AWS_REGION", "eu-west-1")]);
        let profiles = Profiles::default();
        Sts::new(&world, &Web::through(None), &ProfileEnv::new(&world, &profiles)).assume(&role(), &keys("AKID", None))
    }

    #[test]
    fn a_role_is_assumed_by_a_signed_form() {
        let server = Server::start(|_| ok(KEYS));
        let keys = assume(&server).unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.session_token.as_deref()), ("ASIA", Some("a&b+c")));
        assert_eq!(keys.expires_at, Some(now() + Duration::from_secs(3600)));
        let [seen] = &server.requests()[..] else { panic!("one request") };
        assert_eq!(seen.line, "POST /");
        assert_eq!(
            seen.body,
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=octoconf-1767225600\
             &DurationSeconds=900&ExternalId=a%20b%26c"
        );
        let authorization = seen.header("authorization").unwrap();
        assert!(authorization.contains("Credential=AKID/20260101/eu-west-1/sts/aws4_request"), "{authorization}");
        assert!(authorization.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"), "{authorization}");
        assert_eq!(seen.header("host"), server.url.strip_prefix("http://"));
        assert_eq!(seen.header("x-amz-security-token"), Some("token"));
    }

    #[test]
    fn each_refusal_is_told_with_what_to_do() {
        for (code, name, expected, transient) in [
            (403, "AccessDenied", "trust policy", false),
            (403, "SignatureDoesNotMatch", "clock", false),
            (403, "ExpiredToken", "renew the keys", false),
            (400, "InvalidIdentityToken", "token file", false),
            (400, "IDPCommunicationError", "not now", true),
            (400, "Throttling", "not now", true),
            (503, "ServiceUnavailable", "not now", true),
        ] {
            let answer = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{name}</Code><Message>\n User: x\u{1b} is not now allowed with token.\n\nThe string was hush</Message></Error></ErrorResponse>"
            );
            let server = Server::start(move |_| status(code, &answer));
            let error = assume(&server).unwrap_err();
            assert_eq!(error.is_transient(), transient, "{error}");
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("User: x is not now allowed") && text.contains(expected), "{text}");
            assert!(text.contains("with ***") && !text.contains("hush"), "{text}");
        }
    }

    #[test]
    fn a_refusal_that_repeats_the_token_of_a_web_identity_is_told_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "eyJhush.hush.hush\n").unwrap();
        let server = Server::start(|_| {
            status(
                400,
                "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>eyJhush.hush.hush is not for 900</Message></Error></ErrorResponse>",
            )
        });
        let world = surroundings(&[("AWS_ENDPOINT_URL_STS", &server.url)]);
        let profiles = Profiles::default();
        let web = Web::through(None);
        let sts = Sts::new(&world, &web, &ProfileEnv::new(&world, &profiles));
        let text = sts.assume_with_token(&role(), file.to_str().unwrap()).unwrap_err().to_string();
        assert!(text.contains("InvalidIdentityToken: *** is not for 900") && !text.contains("hush"), "{text}");
    }

    #[test]
    fn an_answer_that_is_no_answer_of_sts_is_never_quoted() {
        let half = KEYS.get(..300).unwrap();
        let endless = KEYS.replace("2026-01-01T01:00:00Z", "hush");
        let tokenless = KEYS.replace("SessionToken", "Other");
        for text in [half, "", "{\"hush\":1}", "<html><p>hush</html>", "<a>&hush;</a>", &endless, &tokenless] {
            let body = text.to_owned();
            let server = Server::start(move |_| ok(&body));
            let error = assume(&server).unwrap_err();
            assert!(matches!(error, CredentialsError::Malformed { .. }), "{error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }

    #[test]
    fn the_service_is_that_of_the_region() {
        for (region, url) in [
            ("eu-west-1", "https://sts.eu-west-1.amazonaws.com/"),
            ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/"),
            ("", "https://sts.amazonaws.com/"),
        ] {
            let world = surroundings(&[("AWS_REGION", region)]);
            let profiles = Profiles::default();
            assert_eq!(Sts::new(&world, &Web::through(None), &ProfileEnv::new(&world, &profiles)).url, url);
        }
    }
}
