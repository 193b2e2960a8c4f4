//! Reads the settings from a TOML or INI file, over the compiled-in defaults and under overrides from the environment.
//!
//! The layers, of which later ones win: `defaults.toml`, which documents every key; the files of `partners_dir`; the
//! configuration file; the environment. [`load`] reads them all, collects *every* problem, and returns [`Settings`]
//! only if there is none. Commands call it when they start, and the thread `reload` calls it for a reload. It blocks
//! only to read the configuration's files and those of its secrets. It never logs: anything that works but will
//! surprise is in [`Loaded::warnings`].

use std::path::Path;

use crate::handler::Registry;
use crate::settings::{AdminSettings, Secret, Settings};

pub use self::problem::{ConfigErrors, Problem};
pub use crate::environment::Environment;

mod file;
mod format;
mod ini;
mod known;
mod overrides;
mod problem;
mod resolve;
mod secrets;
mod section;
mod show;
mod tree;
mod units;
mod url;

/// The compiled-in layer, `defaults.toml`, which is also the documentation of every key.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// What a configuration is checked against, besides its own text.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The environment variables: overrides of keys, and secrets. Those of AWS and of a proxy are read from the process
    /// when a queue of SQS is opened.
    pub environment: &'a Environment,
    /// The handlers in code: the built-in ones and those that a user of the library adds.
    pub handlers: &'a Registry,
}

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The resolved settings.
    pub settings: Settings,
    /// Every handler that a queue can name: those in code, and the pipelines of the configuration. It is for the engine; the
    /// next [`Context`] has those in code alone, or the same pipelines would bear the names of handlers in code.
    pub handlers: Registry,
    /// What is valid but likely to surprise, each as `KEY: TEXT`, in the order of the keys.
    pub warnings: Vec<String>,
}

/// The format of a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// TOML, in files that end in `.toml`.
    Toml,
    /// INI, in files that end in `.ini`.
    Ini,
}

impl FileFormat {
    /// Returns the format that the path's extension names, in upper or lower case, or `None` if
    /// the extension names neither.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "ini" => Some(Self::Ini),
            _ => None,
        }
    }
}

/// Reads and checks a configuration file. Blocks to read the file and the files that it names.
///
/// # Errors
///
/// Every problem of the configuration, each with its key.
pub fn load(path: &Path, context: &Context<'_>) -> Result<Loaded, ConfigErrors> {
    let (name, text, kind) = read(path)?;
    parse(&text, kind, &name, context)
}

/// Reads the file and returns its name, its text and its format.
fn read(path: &Path) -> Result<(String, String, FileFormat), ConfigErrors> {
    let name = path.display().to_string();
    let refuse = |text: String| ConfigErrors {
        source_name: name.clone(),
        problems: vec![Problem { key: "--config".to_owned(), text, origin: None }],
    };
    let kind =
        FileFormat::of(path).ok_or_else(|| refuse(format!("{name} is neither .toml nor .ini; rename it by what it holds")))?;
    let text = file::read_text(path, file::MAX_FILE_BYTES).map_err(refuse)?;
    Ok((name, text, kind))
}

/// What a command needs to reach a running instance.
#[derive(Debug, Clone)]
pub struct AdminAccess {
    /// The address and port on which the instance listens; empty if it does not listen.
    pub listen: String,
    /// The admin token, `None` if none is set. An error says why the token cannot be read here: systemd hands secrets
    /// to the service alone, and most requests need none.
    pub token: Result<Option<Secret>, String>,
}

/// Reads only the section `admin`, whatever is wrong in other sections and whichever secrets cannot be
/// read. Blocks to read the file.
///
/// # Errors
///
/// What is wrong with the file as a whole, or with `admin.listen`.
pub fn load_admin(path: &Path, environment: &Environment) -> Result<AdminAccess, ConfigErrors> {
    let problems = problem::Problems::default();
    let (name, text, kind) = read(path)?;
    let defaults = format::parse(DEFAULTS, FileFormat::Toml, &tree::Origin::main("defaults.toml"), &problems);
    let main = format::parse(&text, kind, &tree::Origin::main(&name), &problems);
    if !problems.is_empty() && main.is_empty() {
        return Err(problems.into_errors(&name));
    }
    // Of the problems found so far, only a file that cannot be read at all matters here; the others are dropped.
    let problems = problem::Problems::default();
    let overrides = overrides::overrides(environment, &problem::Problems::default());
    let merged = tree::merge([main, overrides]).unwrap_or_default();
    let AdminSettings { listen, token } = resolve::resolve_admin(&merged, &defaults, environment, &problems);
    let mut errors = problems.into_errors(&name);
    let mut unreadable = errors.problems.extract_if(.., |problem| problem.key == "admin.token");
    let token = unreadable.next().map_or(Ok(token), |problem| Err(problem.to_string()));
    drop(unreadable);
    if errors.problems.is_empty() { Ok(AdminAccess { listen, token }) } else { Err(errors) }
}

/// Reads and checks a configuration given as text; `name` stands for the text in messages. Blocks only if the text
/// names files (secrets, `partners_dir`).
///
/// # Errors
///
/// As for [`load`].
pub fn parse(text: &str, kind: FileFormat, name: &str, context: &Context<'_>) -> Result<Loaded, ConfigErrors> {
    let problems = problem::Problems::default();
    let mut warnings = Vec::new();
    let defaults = format::parse(DEFAULTS, FileFormat::Toml, &tree::Origin::main("defaults.toml"), &problems);
    let main = format::parse(text, kind, &tree::Origin::main(name), &problems);
    // A file that cannot be read as a whole has no keys to check.
    if !problems.is_empty() && main.is_empty() {
        return Err(problems.into_errors(name));
    }
    let partners = match partners_dir(&main, &defaults, &problems) {
        folder if folder.is_empty() => tree::Tree::new(),
        folder => file::read_partners(&folder, &main, &problems, &mut warnings),
    };
    let overrides = overrides::overrides(context.environment, &problems);
    warnings.extend(overrides::missed(&overrides, [&partners, &main]));
    let merged = match tree::merge([partners, main, overrides]) {
        Ok(merged) => merged,
        Err(error) => {
            problems.add("--config", format!("the layers cannot be merged: {error}"), None);
            return Err(problems.into_errors(name));
        }
    };
    known::check(&merged, &defaults, &problems);
    let (settings, handlers) = resolve::resolve(&merged, &defaults, context, &problems, &mut warnings);
    // Sorted by key, as the problems are, because the trees are hash maps.
    warnings.sort();
    if problems.is_empty() { Ok(Loaded { settings, handlers, warnings }) } else { Err(problems.into_errors(name)) }
}

fn partners_dir(main: &tree::Tree, defaults: &tree::Tree, problems: &problem::Problems) -> String {
    section::Section::new(vec![section::Level { path: "", table: main }], defaults, problems).get("partners_dir")
}
