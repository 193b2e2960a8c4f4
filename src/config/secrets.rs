//! Reads secrets from the places that the configuration names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::read_text;
use crate::environment::Environment;
use crate::settings::Secret;

/// The maximum size of a file with a secret, in bytes. No key or token is larger, but a wrong path
/// may lead to a file of any size.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where a secret is kept.
enum SecretSource<'a> {
    Variable(&'a str),
    File(&'a str),
}

fn source(text: &str) -> Option<SecretSource<'_>> {
    let variable = text.strip_prefix("env:").map(SecretSource::Variable);
    variable.or_else(|| text.strip_prefix("file:").map(SecretSource::File))
}

/// Reads secrets from the places that the configuration names. Each place is read once per load,
/// however many partners name it.
pub(super) struct Secrets<'a> {
    environment: &'a Environment,
    /// The results so far, by the text of the configuration, including `env:` or `file:`.
    seen: RefCell<BTreeMap<String, Result<Secret, String>>>,
}

impl<'a> Secrets<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self { environment, seen: RefCell::default() }
    }

    /// Returns the environment from which variables are read.
    pub(super) fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// Reads the secret at `env:NAME` or `file:PATH`; returns `None` for `""`. Plain text is
    /// refused, without quoting it.
    ///
    /// Blocks to read a file. The error names the place, never what was found there.
    pub(super) fn read(&self, text: &str) -> Result<Option<Secret>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let source = source(text).ok_or(
            "a secret does not stand in the configuration itself; write env:NAME or file:PATH (file:NAME without a slash is read from \
             $CREDENTIALS_DIRECTORY)",
        )?;
        self.read_once(text, &source).map(Some)
    }

    /// Reads a value that may be plain, `env:NAME` or `file:PATH`. A plain value is treated as a secret too.
    pub(super) fn read_or_plain(&self, text: &str) -> Result<Secret, String> {
        match source(text) {
            Some(source) => self.read_once(text, &source),
            None => Ok(Secret::new(text)),
        }
    }

    fn read_once(&self, text: &str, source: &SecretSource<'_>) -> Result<Secret, String> {
        let mut seen = self.seen.borrow_mut();
        seen.entry(text.to_owned()).or_insert_with(|| read_source(source, self.environment)).clone()
    }
}

fn read_source(source: &SecretSource<'_>, environment: &Environment) -> Result<Secret, String> {
    match source {
        SecretSource::Variable("") => Err("no variable is named; write env:NAME".to_owned()),
        SecretSource::Variable(name) => match environment.get(name) {
            None if environment.is_set(name) => Err(format!("the environment variable {name} is not UTF-8; set it to text")),
            None => Err(format!("the environment variable {name} is not set; set it for this process")),
            Some("") => Err(format!("the environment variable {name} is empty; set it, or leave the key out")),
            Some(text) => Ok(Secret::new(text)),
        },
        SecretSource::File(name) => {
            let path = credential_path(name, environment)?;
            let text = read_text(&path, MAX_SECRET_BYTES)?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                return Err(format!("{} is empty; write the secret into it", path.display()));
            }
            Ok(Secret::new(text))
        }
    }
}

fn credential_path(name: &str, environment: &Environment) -> Result<PathBuf, String> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    if name.is_empty() {
        return Err("no file is named; write file:PATH".to_owned());
    }
    match environment.get("CREDENTIALS_DIRECTORY") {
        Some(folder) if !folder.is_empty() => Ok(Path::new(folder).join(name)),
        _ => Err(format!(
            "$CREDENTIALS_DIRECTORY is not set, so {name} cannot be found; run under systemd with LoadCredential={name}:PATH, or write a path with a slash"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_from_the_environment_or_a_file_less_one_line_end() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lf"), "hush\n").unwrap();
        std::fs::write(folder.path().join("crlf"), "hush\n\r\n").unwrap();
        let environment = Environment::from_iter([("KEY", "hush"), ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
        let secrets = Secrets::new(&environment);
        let read = |text: &str| secrets.read(text).unwrap().map(|secret| secret.expose().to_owned());
        assert_eq!(read(""), None);
        assert_eq!(read("env:KEY").as_deref(), Some("hush"));
        assert_eq!(read("file:lf").as_deref(), Some("hush"));
        assert_eq!(read(&format!("file:{}/crlf", folder.path().display())).as_deref(), Some("hush\n"));
        assert_eq!(secrets.read_or_plain("text").unwrap().expose(), "text");
        assert_eq!(secrets.read_or_plain("env:KEY").unwrap().expose(), "hush");
    }

    #[test]
    fn what_cannot_be_read_names_the_place_and_never_the_value() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::write(folder.path().join("bytes"), b"hush\xff").unwrap();
        std::fs::write(folder.path().join("long"), vec![b'h'; 70_000]).unwrap();
        let environment = Environment::from_iter([("EMPTY", ""), ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
        for (text, named) in [
            ("hush-hush", "env:NAME or"),
            ("env:MISSING", "MISSING"),
            ("env:EMPTY", "EMPTY"),
            ("env:", "env:NAME"),
            ("file:missing", "missing"),
            ("file:/no/such/file", "/no/such/file"),
            ("file:", "file:PATH"),
            ("file:empty", "empty"),
            ("file:bytes", "UTF-8"),
            ("file:long", "64KiB"),
            ("file:./", "./"),
        ] {
            let error = Secrets::new(&environment).read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
            assert!(!error.contains("hush"), "{text}: {error}");
        }
        let error = Secrets::new(&Environment::default()).read("file:name").unwrap_err();
        assert!(error.contains("CREDENTIALS_DIRECTORY") && error.contains("name"), "{error}");
    }
}
