//! What the sources look at: variables, files, the clock, and how long they wait. Handed in, so that a test brings its own.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::CredentialsError;
use super::profiles::Profiles;
use crate::config::Environment;
use crate::queue::clock::{Clock, WallClock};

/// Far above what any configuration, credentials or token file has; a wrong path may lead to a file of any size.
const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// Where ECS gives a task its keys, at the path in `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
const CONTAINER_HOST: &str = "http://169.254.170.2";

/// The world as the sources see it.
#[derive(Clone)]
pub struct Surroundings {
    pub environment: Environment,
    /// The profile to use; `None`: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// What a container's relative URI is relative to: a scheme and host.
    pub container_host: String,
    pub patience: Patience,
    pub clock: Arc<dyn Clock>,
}

/// How long each kind of source may take for one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The instance's metadata service. Short, since where there is none, nothing answers; and a packet's hop limit of 1 makes a
    /// container wait for nothing.
    pub instance: Duration,
    /// STS and a container's agent.
    pub service: Duration,
    /// `credential_process`.
    pub process: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { instance: Duration::from_secs(1), service: Duration::from_secs(10), process: Duration::from_secs(60) }
    }
}

impl Surroundings {
    /// Those of this process, as its environment is now. Files are read anew each time that keys are fetched.
    pub fn of_process() -> Self {
        Self::new(Environment::of_process())
    }

    /// Those of this machine, with variables of the caller's choice.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            profile: None,
            container_host: CONTAINER_HOST.to_owned(),
            patience: Patience::default(),
            clock: Arc::new(WallClock),
        }
    }

    /// The value of a variable; an empty one counts as not set, as with the AWS SDKs.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).filter(|value| !value.is_empty())
    }

    /// Whether a variable says `true`, in any case.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The profile that was asked for by name; `None`: whatever `default` holds will do.
    pub(super) fn chosen_profile(&self) -> Option<&str> {
        self.profile.as_deref().or_else(|| self.variable("AWS_PROFILE"))
    }

    /// The profile to use.
    pub(super) fn profile_name(&self) -> &str {
        self.chosen_profile().unwrap_or("default")
    }

    /// Reads both files of profiles; one that does not exist counts as empty. Blocks for the files.
    pub(super) fn profiles(&self) -> Result<Profiles, CredentialsError> {
        let read = |place: Option<PathBuf>| {
            let Some(path) = place else { return Ok((String::new(), String::new())) };
            let text = read_if_there(&path).map_err(|problem| CredentialsError::misconfigured("profiles", problem))?;
            Ok((path.display().to_string(), text.unwrap_or_default()))
        };
        let (config_path, config) = read(self.config_file())?;
        let (credentials_path, credentials) = read(self.credentials_file())?;
        Profiles::parse((&config_path, &config), (&credentials_path, &credentials))
            .map_err(|problem| CredentialsError::misconfigured("profiles", problem))
    }

    pub(super) fn config_file(&self) -> Option<PathBuf> {
        self.file("AWS_CONFIG_FILE", ".aws/config")
    }

    pub(super) fn credentials_file(&self) -> Option<PathBuf> {
        self.file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")
    }

    fn file(&self, variable: &str, in_home: &str) -> Option<PathBuf> {
        let home = self.variable("HOME").map(Path::new);
        let Some(path) = self.variable(variable) else { return Some(home?.join(in_home)) };
        match (path.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(PathBuf::from(path)),
        }
    }
}

impl fmt::Debug for Surroundings {
    /// Names of variables, never their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("environment", &self.environment)
            .field("profile", &self.profile)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// A token from a file, as it is now: such files are replaced while a service runs. Line breaks at its end are not part of it.
pub(super) fn read_token(path: &str) -> Result<String, String> {
    let text = read_if_there(Path::new(path))?.ok_or_else(|| format!("{path} does not exist; check the path"))?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() {
        return Err(format!("{path} is empty; check what writes it"));
    }
    Ok(token.to_owned())
}

/// A text file; `None` where there is none. The error quotes nothing of the file.
fn read_if_there(path: &Path) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} cannot be read: {error}; check who may read it", path.display())),
    }
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("{} is longer than 4 MiB; check the path", path.display()));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| format!("{} is not UTF-8; save it as UTF-8 text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(variables: &[(&str, &str)]) -> (Option<PathBuf>, Option<PathBuf>) {
        let surroundings = Surroundings::new(variables.iter().copied().collect());
        (surroundings.config_file(), surroundings.credentials_file())
    }

    #[test]
    fn files_are_where_variables_say_or_in_the_home_folder() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(files(&[("HOME", "/h")]), (path("/h/.aws/config"), path("/h/.aws/credentials")));
        let both = [("HOME", "/h"), ("AWS_CONFIG_FILE", "~/c"), ("AWS_SHARED_CREDENTIALS_FILE", "/etc/keys")];
        assert_eq!(files(&both), (path("/h/c"), path("/etc/keys")));
        assert_eq!(files(&[]), (None, None));
    }

    #[test]
    fn a_token_file_is_read_anew_and_loses_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let path = path.to_str().unwrap();
        for (text, token) in [("one\n", "one"), ("two\r\n", "two")] {
            std::fs::write(path, text).unwrap();
            assert_eq!(read_token(path).unwrap(), token);
        }
        std::fs::write(path, "\n").unwrap();
        assert!(read_token(path).unwrap_err().contains("is empty"));
        assert!(read_token("/nowhere/token").unwrap_err().contains("does not exist"));
    }

    #[test]
    fn a_file_of_any_size_is_not_read_to_its_end() {
        assert!(read_token("/dev/zero").unwrap_err().contains("longer than"));
    }
}
