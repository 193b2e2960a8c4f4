//! The sources of keys in their order. The first that is set up is used; if it fails, no other takes its
//! place, because keys of another account would be worse than none. Runs on the thread that fetches the keys.

use parking_lot::Mutex;

use super::plan::{Base, Plan, Role};
use super::region::ProfileEnv;
use super::sts::Sts;
use super::web::Web;
use super::{Credentials, CredentialsError, Keys, Surroundings, container, instance, process};

/// Fetches keys anew at each call; [`super::Cached`] is there for frequent use.
pub struct Chain {
    surroundings: Surroundings,
    web: Web,
    /// The source that returned the last keys.
    last: Mutex<Option<KeySource>>,
}

/// Where keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeySource {
    Environment,
    WebIdentity,
    Profile,
    Container,
    InstanceMetadata,
}

impl KeySource {
    /// Returns the name of the source, for people.
    fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::WebIdentity => "web identity",
            Self::Profile => "profile",
            Self::Container => "container",
            Self::InstanceMetadata => "instance metadata",
        }
    }
}

/// The result of looking at one source.
enum Found {
    Keys(Keys),
    /// The source is not set up; the text names what was looked at.
    Nothing(String),
    /// The source did not answer, and may exist all the same; the text names what was looked at.
    Silence(String),
}

type Look = fn(&Chain) -> Result<Found, CredentialsError>;

/// The sources, in the order of the AWS SDKs.
const SOURCES: [(KeySource, Look); 5] = [
    (KeySource::Environment, Chain::environment),
    (KeySource::WebIdentity, Chain::web_identity),
    (KeySource::Profile, Chain::profile),
    (KeySource::Container, Chain::container),
    (KeySource::InstanceMetadata, Chain::instance),
];

impl Credentials for Chain {
    /// Blocks for one source: for files, a command, or a few
    /// requests, each for at most the time in [`super::Patience`].
    fn get(&self) -> Result<Keys, CredentialsError> {
        let (mut looked, mut unanswered) = (Vec::new(), false);
        for (source, look) in SOURCES {
            match look(self)? {
                Found::Keys(keys) => {
                    *self.last.lock() = Some(source);
                    return keys.checked(source.name(), self.surroundings.now());
                }
                Found::Nothing(what) => looked.push(what),
                Found::Silence(what) => {
                    looked.push(what);
                    unanswered = true;
                }
            }
        }
        Err(CredentialsError::NotFound { looked: looked.join("; "), unanswered })
    }

    fn origin(&self) -> String {
        match *self.last.lock() {
            Some(KeySource::Environment) => {
                "the environment (AWS_ACCESS_KEY_ID), which stays as it is for a running process: restart it with others"
                    .to_owned()
            }
            Some(KeySource::Profile) => {
                let name = self.surroundings.profile_name();
                format!("profile {name:?} (in {}), which is read again at the next try", self.profile_files())
            }
            Some(source) => format!("{}, which is asked again at the next try", source.name()),
            None => "nowhere yet".to_owned(),
        }
    }
}

impl Chain {
    /// Creates the chain without looking at any source.
    pub fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, web: Web::new(), last: Mutex::new(None) }
    }

    fn environment(&self) -> Result<Found, CredentialsError> {
        Ok(match environment(&self.surroundings)? {
            Some(keys) => Found::Keys(keys),
            None => Found::Nothing("environment (AWS_ACCESS_KEY_ID is not set)".to_owned()),
        })
    }

    fn web_identity(&self) -> Result<Found, CredentialsError> {
        let world = &self.surroundings;
        let Some(token_file) = world.variable("AWS_WEB_IDENTITY_TOKEN_FILE") else {
            return Ok(Found::Nothing("web identity (AWS_WEB_IDENTITY_TOKEN_FILE is not set)".to_owned()));
        };
        let arn = world.variable("AWS_ROLE_ARN").ok_or_else(|| {
            CredentialsError::misconfigured(
                "web identity",
                "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not; set both",
            )
        })?;
        let role = Role {
            profile: world.profile_name().to_owned(),
            arn: arn.to_owned(),
            session_name: world.variable("AWS_ROLE_SESSION_NAME").map(str::to_owned),
            external_id: None,
            duration: None,
        };
        let profiles = world.profiles()?;
        let sts = Sts::new(world, &self.web, &ProfileEnv::new(world, &profiles));
        sts.assume_with_token(&role, token_file).map(Found::Keys)
    }

    fn profile(&self) -> Result<Found, CredentialsError> {
        let world = &self.surroundings;
        let profiles = world.profiles()?;
        let name = world.profile_name();
        let Some(plan) = Plan::of(&profiles, name)? else { return self.without_profile(profiles.get(name).is_some()) };
        let sts = Sts::new(world, &self.web, &ProfileEnv::new(world, &profiles));
        let first = self.base(plan.base, &sts)?;
        plan.roles.iter().try_fold(first, |keys, role| sts.assume(role, &keys)).map(Found::Keys)
    }

    /// Returns what it means that the profile has no keys. A profile that was
    /// chosen by name must exist; a missing `default` is nothing unusual.
    fn without_profile(&self, is_there: bool) -> Result<Found, CredentialsError> {
        let world = &self.surroundings;
        let name = world.profile_name();
        let files = self.profile_files();
        if is_there {
            return Ok(Found::Nothing(format!("profile {name:?} (in {files}; it holds no keys and no way to any)")));
        }
        if world.chosen_profile().is_some() {
            let problem =
                format!("was chosen and is not there; looked in {files}; write it there, or choose another with AWS_PROFILE");
            return Err(CredentialsError::misconfigured(format!("profile {name:?}"), problem));
        }
        Ok(Found::Nothing(format!("profile {name:?} (not in {files})")))
    }

    /// Returns the paths of the files that hold profiles, in words.
    fn profile_files(&self) -> String {
        let files: Vec<String> = [self.surroundings.config_file(), self.surroundings.credentials_file()]
            .into_iter()
            .flatten()
            .map(|path| path.display().to_string())
            .collect();
        if files.is_empty() { "no files, as HOME is not set".to_owned() } else { files.join(" and ") }
    }

    fn base(&self, base: Base, sts: &Sts<'_>) -> Result<Keys, CredentialsError> {
        match base {
            Base::Keys(keys) => Ok(keys),
            Base::Process { profile, command } => process::keys(&profile, &command, self.surroundings.patience.process),
            Base::WebIdentity { token_file, role } => sts.assume_with_token(&role, &token_file),
            Base::Environment => environment(&self.surroundings)?.ok_or_else(|| {
                CredentialsError::misconfigured(
                    "credential_source = Environment",
                    "AWS_ACCESS_KEY_ID is not set; set it and its secret",
                )
            }),
            Base::Container => container::keys(&self.surroundings, &self.web),
            Base::Instance => instance::keys(&self.surroundings, &self.web),
        }
    }

    fn container(&self) -> Result<Found, CredentialsError> {
        if !container::is_set_up(&self.surroundings) {
            return Ok(Found::Nothing("container (no AWS_CONTAINER_CREDENTIALS_… is set)".to_owned()));
        }
        container::keys(&self.surroundings, &self.web).map(Found::Keys)
    }

    /// Asks the metadata service. Only the service itself can show whether
    /// this is an instance, so it is no failure if it does not answer.
    fn instance(&self) -> Result<Found, CredentialsError> {
        if instance::is_disabled(&self.surroundings) {
            return Ok(Found::Nothing("instance metadata (turned off by AWS_EC2_METADATA_DISABLED)".to_owned()));
        }
        match instance::keys(&self.surroundings, &self.web) {
            Ok(keys) => Ok(Found::Keys(keys)),
            Err(CredentialsError::Unreachable { from, why }) => Ok(Found::Silence(format!("{from} ({why})"))),
            Err(error) => Err(error),
        }
    }
}

/// Returns the keys in the environment variables, if they are set.
fn environment(surroundings: &Surroundings) -> Result<Option<Keys>, CredentialsError> {
    const ID: &str = "AWS_ACCESS_KEY_ID";
    const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
    match (surroundings.variable(ID), surroundings.variable(SECRET)) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => Ok(Some(Keys {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: surroundings.variable("AWS_SESSION_TOKEN").map(str::to_owned),
            expires_at: None,
        })),
        (id, _) => {
            let (there, missing) = if id.is_some() { (ID, SECRET) } else { (SECRET, ID) };
            Err(CredentialsError::misconfigured("environment", format!("{there} is set and {missing} is not; set both")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{Server, now, ok, surroundings};
    use super::*;

    const OFF: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

    fn answer(id: &str) -> String {
        ok(&format!(
            "<R><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken>\
             <Expiration>2026-01-01T01:00:00Z</Expiration></R>"
        ))
    }

    fn id(variables: &[(&str, &str)]) -> String {
        Chain::new(surroundings(variables)).get().unwrap().access_key_id
    }

    fn error(variables: &[(&str, &str)]) -> String {
        let error = Chain::new(surroundings(variables)).get().unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
        error
    }

    #[test]
    fn the_first_source_that_is_set_up_is_the_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("token"), "jwt\n").unwrap();
        fs::write(path("keys"), "[default]\naws_access_key_id = PROFILE\naws_secret_access_key = hush").unwrap();
        let sts = Server::start(|_| answer("IDENTITY"));
        let agent = Server::start(|_| ok(r#"{"AccessKeyId":"CONTAINER","SecretAccessKey":"S","Token":"T"}"#));
        let metadata = Server::start(|seen| match seen.line.as_str() {
            line if line.starts_with("PUT") => ok("session"),
            line if line.ends_with('/') => ok("role"),
            _ => ok(r#"{"Code":"Success","AccessKeyId":"INSTANCE","SecretAccessKey":"S","Token":"T"}"#),
        });
        let (token, keys) = (path("token"), path("keys"));
        let all = [
            ("AWS_ACCESS_KEY_ID", "ENVIRONMENT"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
            ("AWS_ROLE_ARN", "arn"),
            ("AWS_ENDPOINT_URL_STS", &sts.url),
            ("AWS_SHARED_CREDENTIALS_FILE", &keys),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.url),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url),
        ];
        for (from, expected) in [(0, "ENVIRONMENT"), (2, "IDENTITY"), (5, "PROFILE"), (6, "CONTAINER"), (7, "INSTANCE")] {
            assert_eq!(id(&all[from..]), expected);
        }
        let [seen] = &sts.requests()[..] else { panic!("one request") };
        assert!(seen.body.starts_with("Action=AssumeRoleWithWebIdentity&") && seen.body.ends_with("&WebIdentityToken=jwt"));
        assert_eq!(seen.header("authorization"), None);
    }

    #[test]
    fn roles_are_assumed_one_with_the_keys_of_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let text = "[profile p]\nregion = eu-west-1\nrole_arn = second\nsource_profile = q\n\
                    [profile q]\nrole_arn = first\ncredential_source = Environment\n";
        fs::write(&config, text).unwrap();
        let sts = Server::start(|seen| answer(if seen.body.contains("RoleArn=first") { "FIRST" } else { "SECOND" }));
        let variables = [
            ("AWS_CONFIG_FILE", config.to_str().unwrap()),
            ("AWS_PROFILE", "p"),
            ("AWS_ENDPOINT_URL", &sts.url),
            ("AWS_ACCESS_KEY_ID", "BASE"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
        ];
        let chain = Chain::new(surroundings(&variables));
        let Ok(Found::Keys(keys)) = chain.profile() else { panic!("keys") };
        assert_eq!(
            (keys.access_key_id.as_str(), keys.expires_at),
            ("SECOND", Some(now() + std::time::Duration::from_secs(3600)))
        );
        let signers: Vec<String> =
            sts.requests().iter().map(|seen| seen.header("authorization").unwrap()[..40].to_owned()).collect();
        assert!(signers[0].contains("Credential=BASE/") && signers[1].contains("Credential=FIRST/"), "{signers:?}");
    }

    #[test]
    fn a_file_is_read_again_each_time_and_named_as_the_origin() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        let file = file.to_str().unwrap();
        let write = |id: &str| {
            fs::write(
                file,
                format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = hush\naws_session_token = hush"),
            )
            .unwrap();
        };
        let chain = Chain::new(surroundings(&[("AWS_SHARED_CREDENTIALS_FILE", file), OFF]));
        for id in ["OLD", "NEW"] {
            write(id);
            assert_eq!(chain.get().unwrap().access_key_id, id);
        }
        let origin = chain.origin();
        assert!(origin.contains("profile \"default\"") && origin.contains(file), "{origin}");
        let chain = Chain::new(surroundings(&[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "hush")]));
        chain.get().unwrap();
        assert!(chain.origin().contains("restart"), "{}", chain.origin());
    }

    #[test]
    fn nothing_found_tells_all_that_was_looked_at() {
        let error = error(&[("HOME", "/nowhere"), OFF]);
        let places = [
            "environment (AWS_ACCESS_KEY_ID is not set)",
            "web identity (AWS_WEB_IDENTITY_TOKEN_FILE is not set)",
            "profile \"default\" (not in /nowhere/.aws/config and /nowhere/.aws/credentials)",
            "container (no AWS_CONTAINER_CREDENTIALS_… is set)",
            "instance metadata (turned off by AWS_EC2_METADATA_DISABLED)",
        ];
        assert!(error.contains(&places.join("; ")), "{error}");
    }

    #[test]
    fn a_source_that_fails_is_not_passed_over() {
        for (variables, expected) in [
            (&[("AWS_ACCESS_KEY_ID", "hush")][..], "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
            (&[("AWS_SECRET_ACCESS_KEY", "hush")], "AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"),
            (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere")], "AWS_ROLE_ARN is not; set both"),
            (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere"), ("AWS_ROLE_ARN", "r")], "/nowhere does not exist"),
            (&[("AWS_PROFILE", "other"), ("HOME", "/nowhere")], "profile \"other\": was chosen and is not there"),
            (&[("AWS_CONFIG_FILE", "/dev/zero")], "longer than 4 MiB"),
        ] {
            let error = error(&[variables, &[OFF]].concat());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn keys_that_are_over_name_their_source() {
        let agent = Server::start(|_| ok(r#"{"AccessKeyId":"A","SecretAccessKey":"hush","Expiration":"2025-12-31T23:59:59Z"}"#));
        let error = error(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.url)]);
        assert!(error.contains("container gave keys that expired at 2025-12-31T23:59:59Z"), "{error}");
    }

    #[test]
    fn no_metadata_service_is_one_more_place_without_keys() {
        let world = surroundings(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")]);
        let error = Chain::new(world).get().unwrap_err();
        assert!(error.is_transient(), "there may be no network yet");
        let text = error.to_string();
        assert!(text.starts_with("no AWS credentials found") && text.contains("127.0.0.1:1 cannot be reached"), "{text}");
        assert!(!Chain::new(surroundings(&[OFF])).get().unwrap_err().is_transient());
    }
}
