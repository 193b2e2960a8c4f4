//! From a profile to the steps that fetch its keys: the source of the
//! first keys, and the roles to assume with them, one after the other.
//!
//! Pure functions. Profiles name each other; a circle, or a chain
//! longer than anyone intends, is an error that shows the path.

use super::profiles::{Profiles, Section};
use super::{CredentialsError, Keys};

/// The largest number of roles in one chain: each is a request to STS whenever keys are fetched.
const MOST_ROLES: usize = 8;

/// The steps to a profile's keys.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// The source of the first keys.
    pub base: Base,
    /// The roles in the order in which they are assumed, each with the keys of the one before.
    pub roles: Vec<Role>,
}

/// The source of the first keys.
#[derive(Debug, PartialEq, Eq)]
pub enum Base {
    Keys(Keys),
    /// The output of the command in `credential_process`.
    Process {
        profile: String,
        command: String,
    },
    WebIdentity {
        token_file: String,
        role: Role,
    },
    Environment,
    Container,
    Instance,
}

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The profile that names the role, for errors.
    pub profile: String,
    pub arn: String,
    /// The session name; `None` for a name of ours.
    pub session_name: Option<String>,
    pub external_id: Option<String>,
    /// The duration of the session in seconds, as written; STS validates it.
    pub duration: Option<String>,
}

impl Plan {
    /// Returns the plan for a profile; `None` if the profile does not exist or has no keys.
    pub fn of(profiles: &Profiles, profile: &str) -> Result<Option<Self>, CredentialsError> {
        let mut way: Vec<&str> = Vec::new();
        let mut roles = Vec::new();
        let mut name = profile;
        loop {
            let Some(section) = profiles.get(name) else {
                return match way.last() {
                    None => Ok(None),
                    Some(from) => Err(wrong(from, format!("its source_profile {name:?} is in neither file"))),
                };
            };
            // A profile that is named as a source is used for its own keys if it has
            // any, even beside a role. So a profile with keys may also name itself.
            let by_keys = if way.is_empty() { None } else { keys(section, name)? };
            if let Some(keys) = by_keys {
                return Ok(Some(Self::new(Base::Keys(keys), roles)));
            }
            if way.contains(&name) {
                way.push(name);
                return Err(wrong(profile, format!("its source_profiles go in a circle: {}", way.join(" → "))));
            }
            let step = match section.get("role_arn") {
                Some(arn) => source_of(section, Role::of(section, name, arn))?,
                None => Step::Base(base(section, name)?),
            };
            match step {
                Step::Role { role, source } => {
                    roles.push(role);
                    way.push(name);
                    name = source;
                }
                Step::RoleOn { role, base } => {
                    roles.push(role);
                    return Ok(Some(Self::new(base, roles)));
                }
                Step::Base(Some(base)) => return Ok(Some(Self::new(base, roles))),
                Step::Base(None) => match way.last() {
                    None => return Ok(None),
                    Some(from) => {
                        return Err(wrong(from, format!("its source_profile {name:?} holds no keys and no way to any")));
                    }
                },
            }
            if roles.len() > MOST_ROLES {
                return Err(wrong(
                    profile,
                    format!("its source_profiles make a chain of more than {MOST_ROLES} roles; shorten it"),
                ));
            }
        }
    }

    /// Creates a plan. The first of `roles` is the one asked for, and so the last to be assumed.
    fn new(base: Base, mut roles: Vec<Role>) -> Self {
        roles.reverse();
        Self { base, roles }
    }
}

/// The step that one profile of a chain contributes.
enum Step<'a> {
    /// A role that is assumed with the keys of another profile.
    Role { role: Role, source: &'a str },
    /// A role that is assumed with keys from outside the profiles.
    RoleOn { role: Role, base: Base },
    /// No role, and possibly keys.
    Base(Option<Base>),
}

impl Role {
    fn of(section: &Section, profile: &str, arn: &str) -> Self {
        let get = |name: &str| section.get(name).map(str::to_owned);
        Self {
            profile: profile.to_owned(),
            arn: arn.to_owned(),
            session_name: get("role_session_name"),
            external_id: get("external_id"),
            duration: get("duration_seconds"),
        }
    }
}

fn source_of(section: &Section, role: Role) -> Result<Step<'_>, CredentialsError> {
    let profile = role.profile.clone();
    if section.get("mfa_serial").is_some() {
        let problem = "mfa_serial asks a person for a code, which a service cannot give; let the role trust without MFA";
        return Err(wrong(&profile, problem));
    }
    let sources = (section.get("source_profile"), section.get("credential_source"), section.get("web_identity_token_file"));
    match sources {
        (None, None, Some(file)) => Ok(Step::Base(Some(Base::WebIdentity { token_file: file.to_owned(), role }))),
        (Some(source), None, None) => Ok(Step::Role { role, source }),
        (None, Some(source), None) => match source.to_ascii_lowercase().as_str() {
            "environment" => Ok(Step::RoleOn { role, base: Base::Environment }),
            "ecscontainer" => Ok(Step::RoleOn { role, base: Base::Container }),
            "ec2instancemetadata" => Ok(Step::RoleOn { role, base: Base::Instance }),
            _ => {
                let problem =
                    "its credential_source is none of Environment, EcsContainer and Ec2InstanceMetadata; write one of them";
                Err(wrong(&profile, problem))
            }
        },
        (None, None, None) => {
            let problem = "role_arn stands without source_profile, credential_source or web_identity_token_file; set one of them";
            Err(wrong(&profile, problem))
        }
        _ => {
            let problem = "two of source_profile, credential_source and web_identity_token_file are set; keep one of them";
            Err(wrong(&profile, problem))
        }
    }
}

/// Returns the source of keys of a profile without a role; `None` if it has none.
fn base(section: &Section, profile: &str) -> Result<Option<Base>, CredentialsError> {
    if let Some(keys) = keys(section, profile)? {
        return Ok(Some(Base::Keys(keys)));
    }
    if let Some(command) = section.get("credential_process") {
        return Ok(Some(Base::Process { profile: profile.to_owned(), command: command.to_owned() }));
    }
    match section.starting_with("sso_").or(section.get("login_session").map(|_| "login_session")) {
        None => Ok(None),
        Some(setting) => {
            let problem = format!(
                "{setting} needs a person to log in; for a service use a role, or set credential_process = aws configure \
                 export-credentials --profile {profile} in another profile"
            );
            Err(wrong(profile, problem))
        }
    }
}

fn keys(section: &Section, profile: &str) -> Result<Option<Keys>, CredentialsError> {
    match (section.get("aws_access_key_id"), section.get("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok(Some(Keys {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: section.get("aws_session_token").map(str::to_owned),
            expires_at: None,
        })),
        (None, None) => Ok(None),
        (id, _) => {
            let missing = if id.is_some() { "aws_secret_access_key" } else { "aws_access_key_id" };
            Err(wrong(profile, format!("one half of a pair of keys is there, {missing} is missing; set both")))
        }
    }
}

fn wrong(profile: &str, problem: impl Into<String>) -> CredentialsError {
    CredentialsError::misconfigured(format!("profile {profile:?}"), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(config: &str) -> Result<Option<Plan>, CredentialsError> {
        Plan::of(&Profiles::parse(("config", config), ("", "")).unwrap(), "p")
    }

    fn problem(config: &str) -> String {
        let error = plan(config).unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
        error
    }

    fn fixed() -> Base {
        let keys = Keys { access_key_id: "K".into(), secret_access_key: "hush".into(), session_token: None, expires_at: None };
        Base::Keys(keys)
    }

    const KEYS: &str = "aws_access_key_id = K\naws_secret_access_key = hush\n";

    fn role(profile: &str, arn: &str) -> Role {
        Role { profile: profile.into(), arn: arn.into(), session_name: None, external_id: None, duration: None }
    }

    #[test]
    fn each_kind_of_profile_has_its_base() {
        let process = Base::Process { profile: "p".into(), command: "/bin/x a".into() };
        let identity = Base::WebIdentity { token_file: "/t".into(), role: role("p", "R") };
        for (settings, base) in [
            (KEYS, fixed()),
            ("credential_process = /bin/x a\n", process),
            ("role_arn = R\nweb_identity_token_file = /t\n", identity),
        ] {
            assert_eq!(plan(&format!("[profile p]\n{settings}")).unwrap().unwrap(), Plan { base, roles: vec![] });
        }
        for (source, base) in
            [("Environment", Base::Environment), ("EcsContainer", Base::Container), ("Ec2InstanceMetadata", Base::Instance)]
        {
            let made = plan(&format!("[profile p]\nrole_arn = R\ncredential_source = {source}")).unwrap().unwrap();
            assert_eq!(made, Plan { base, roles: vec![role("p", "R")] });
        }
        for nothing in ["", "[profile p]\nregion = x", "[profile other]\naws_access_key_id = K"] {
            assert_eq!(plan(nothing).unwrap(), None, "{nothing}");
        }
    }

    #[test]
    fn roles_are_assumed_from_the_end_of_the_chain() {
        let made = plan(&format!(
            "[profile p]\nrole_arn = R1\nsource_profile = q\nexternal_id = e\nrole_session_name = s\nduration_seconds = 900\n\
             [profile q]\nrole_arn = R2\nsource_profile = r\n[profile r]\n{KEYS}"
        ));
        let first = Role {
            session_name: Some("s".into()),
            external_id: Some("e".into()),
            duration: Some("900".into()),
            ..role("p", "R1")
        };
        assert_eq!(made.unwrap().unwrap(), Plan { base: fixed(), roles: vec![role("q", "R2"), first] });
    }

    #[test]
    fn a_source_with_keys_of_its_own_is_used_for_these() {
        let itself = plan(&format!("[profile p]\nrole_arn = R\nsource_profile = p\n{KEYS}")).unwrap().unwrap();
        assert_eq!(itself, Plan { base: fixed(), roles: vec![role("p", "R")] });
        let other =
            format!("[profile p]\nrole_arn = R\nsource_profile = q\n[profile q]\nrole_arn = R2\nsource_profile = p\n{KEYS}");
        assert_eq!(plan(&other).unwrap().unwrap(), Plan { base: fixed(), roles: vec![role("p", "R")] });
    }

    #[test]
    fn circles_show_the_way() {
        let itself = problem("[profile p]\nrole_arn = R\nsource_profile = p");
        assert!(itself.contains("p → p"), "{itself}");
        let round = problem(
            "[profile p]\nrole_arn = R\nsource_profile = q\n[profile q]\nrole_arn = R\nsource_profile = r\n\
             [profile r]\nrole_arn = R\nsource_profile = q",
        );
        assert!(round.contains("p → q → r → q"), "{round}");
    }

    #[test]
    fn a_chain_has_an_end() {
        let hop = |at: usize| format!("[profile p{at}]\nrole_arn = R\nsource_profile = p{}\n", at + 1);
        let chain = |roles: usize| {
            let hops: String = (1..roles).map(hop).collect();
            format!("[profile p]\nrole_arn = R\nsource_profile = p1\n{hops}[profile p{roles}]\n{KEYS}")
        };
        assert_eq!(plan(&chain(MOST_ROLES)).unwrap().unwrap().roles.len(), MOST_ROLES);
        assert!(problem(&chain(MOST_ROLES + 1)).contains("more than 8 roles"));
        assert!(problem(&chain(10_000)).contains("more than 8 roles"));
    }

    #[test]
    fn each_wrong_profile_is_told_what_to_do() {
        for (settings, expected) in [
            ("aws_access_key_id = hush", "aws_secret_access_key is missing"),
            ("aws_secret_access_key = hush", "aws_access_key_id is missing"),
            ("role_arn = R", "without source_profile"),
            ("role_arn = R\nsource_profile = q", "\"q\" is in neither file"),
            ("role_arn = R\nsource_profile = q\n[profile q]\nregion = x", "\"q\" holds no keys"),
            ("role_arn = R\nsource_profile = q\ncredential_source = Environment", "keep one of them"),
            ("role_arn = R\ncredential_source = Elsewhere", "none of Environment"),
            ("role_arn = R\nsource_profile = q\nmfa_serial = m", "MFA"),
            ("sso_session = s", "credential_process = aws configure export-credentials --profile p"),
            ("login_session = s", "login_session needs a person"),
        ] {
            let error = problem(&format!("[profile p]\n{settings}"));
            assert!(error.starts_with("AWS credentials: profile \"p\"") && error.contains(expected), "{error}");
        }
    }
}
