//! The environment that the sources look at: variables, files, the clock,
//! and how long they wait. It is passed in, so that a test brings its own.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::CredentialsError;
use super::profiles::Profiles;
use crate::environment::Environment;
use crate::queue::clock::{Clock, WallClock};

/// The largest size of a file in bytes, far above that of any configuration,
/// credentials or token file, since a wrong path may lead to a file of any size.
const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// The host at which ECS gives a task its keys, under the path in `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
const CONTAINER_HOST: &str = "http://169.254.170.2";

/// The environment as the sources see it.
#[derive(Clone)]
pub struct Surroundings {
    /// The environment variables.
    pub environment: Environment,
    /// The profile to use; `None` for the one in `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// The scheme and host to which a container's relative URI is relative.
    pub container_host: String,
    /// How long each kind of source may take.
    pub patience: Patience,
    /// The clock by which keys end and requests are signed.
    pub clock: Arc<dyn Clock>,
}

/// How long each kind of source may take for one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The limit for the instance's metadata service. It is short, because on a machine
    /// without one nothing answers, and a hop limit of 1 makes a container wait in vain.
    pub instance: Duration,
    /// The limit for STS and for a container's agent.
    pub service: Duration,
    /// The limit for a `credential_process`.
    pub process: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { instance: Duration::from_secs(1), service: Duration::from_secs(10), process: Duration::from_secs(60) }
    }
}

impl Surroundings {
    /// Returns the surroundings of this process, with its environment as
    /// it is now. Files are read anew each time that keys are fetched.
    pub fn of_process() -> Self {
        Self::new(Environment::of_process())
    }

    /// Returns the surroundings of this machine, with variables of the caller's choice.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            profile: None,
            container_host: CONTAINER_HOST.to_owned(),
            patience: Patience::default(),
            clock: Arc::new(WallClock),
        }
    }

    /// Returns the value of a variable; an empty one counts as not set, as with the AWS SDKs.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).filter(|value| !value.is_empty())
    }

    /// Returns whether the value of a variable is `true`, in upper or lower case.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Returns the profile that was chosen by name; `None` if whatever `default` holds will do.
    pub(super) fn chosen_profile(&self) -> Option<&str> {
        self.profile.as_deref().or_else(|| self.variable("AWS_PROFILE"))
    }

    /// Returns the name of the profile to use.
    pub(super) fn profile_name(&self) -> &str {
        self.chosen_profile().unwrap_or("default")
    }

    /// Reads both files of profiles; a file that does not exist counts as empty. Blocks for the files.
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
    /// Shows the names of variables, never their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("environment", &self.environment)
            .field("profile", &self.profile)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Reads a token from a file each time, since such files are replaced
/// while a service runs. Line breaks at its end are not part of it.
pub(super) fn read_token(path: &str) -> Result<String, String> {
    let text = read_if_there(Path::new(path))?.ok_or_else(|| format!("{path} does not exist; check the path"))?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() {
        return Err(format!("{path} is empty; check what writes it"));
    }
    Ok(token.to_owned())
}

/// Reads a text file; `None` if there is no such file. The error quotes nothing of the file.
fn read_if_there(path: &Path) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} cannot be read: {error}; check its permissions", path.display())),
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
