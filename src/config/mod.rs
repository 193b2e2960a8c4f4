//! Settings from TOML or INI, with commented defaults compiled in and overrides from the environment.
//!
//! Layers, later ones win: `defaults.toml`, which explains every key; the files of `partners_dir`; the configuration file; the environment.
//! [`load`] reads them, finds *all* that is wrong, and gives [`Settings`] only where nothing is. Called by commands at their start and by the
//! signal thread for a reload; blocks for the files (and those of secrets) alone. It never logs: what is odd is in [`Loaded::warnings`].

use std::path::Path;

pub use self::environment::Environment;
pub use self::problem::{ConfigErrors, Problem};
pub use self::settings::Settings;

pub mod environment;
mod file;
mod format;
mod ini;
mod known;
pub mod problem;
mod resolve;
pub mod secret;
mod section;
pub mod settings;
pub mod show;
mod tree;
pub mod units;
pub mod url;

/// The compiled-in layer, and the documentation of every key.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// What a configuration is read against.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Overrides and secrets.
    pub environment: &'a Environment,
    /// The names of the handlers in code: the built-in ones and those that a library user adds.
    pub handlers: &'a [&'a str],
    /// Compiles a jq program; the error says what is wrong with it, on one line.
    pub check_jq: &'a dyn Fn(&str) -> Result<(), String>,
}

/// A configuration in which nothing is wrong.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// `KEY: what will surprise`, in the order of the keys.
    pub warnings: Vec<String>,
}

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Toml,
    Ini,
}

impl Kind {
    /// By extension, in any case; `None`: neither.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "ini" => Some(Self::Ini),
            _ => None,
        }
    }
}

/// Reads a configuration file. Blocks for its files.
///
/// # Errors
///
/// Every problem that there is, each with its key.
pub fn load(path: &Path, context: &Context<'_>) -> Result<Loaded, ConfigErrors> {
    let (name, text, kind) = read(path)?;
    parse(&text, kind, &name, context)
}

/// The file's name, text and format.
fn read(path: &Path) -> Result<(String, String, Kind), ConfigErrors> {
    let name = path.display().to_string();
    let refuse = |text: String| ConfigErrors {
        source_name: name.clone(),
        problems: vec![Problem { key: "--config".to_owned(), text, origin: None }],
    };
    let kind = Kind::of(path).ok_or_else(|| refuse(format!("{name} is neither .toml nor .ini; rename it by what it holds")))?;
    let text = file::read_text(path, file::LONGEST).map_err(refuse)?;
    Ok((name, text, kind))
}

/// What a command needs to reach a running instance.
#[derive(Debug, Clone)]
pub struct AdminAccess {
    /// Empty: it does not listen.
    pub listen: String,
    /// The error: why it cannot be read here. Systemd hands secrets to the service alone, and most questions need none.
    pub token: Result<Option<secret::Secret>, String>,
}

/// Reads the section `admin` alone: whatever else is wrong, or secret, is no matter. Blocks for the file.
///
/// # Errors
///
/// What is wrong with the file as a whole, or with `admin.listen`.
pub fn load_admin(path: &Path, environment: &Environment) -> Result<AdminAccess, ConfigErrors> {
    let problems = problem::Problems::default();
    let (name, text, kind) = read(path)?;
    let defaults = format::parse(DEFAULTS, Kind::Toml, &tree::Origin::main("defaults.toml"), &problems);
    let main = format::parse(&text, kind, &tree::Origin::main(&name), &problems);
    if !problems.is_empty() && main.is_empty() {
        return Err(problems.into_errors(&name));
    }
    // Of what is read so far nothing else counts.
    let problems = problem::Problems::default();
    let overrides = environment.overrides(&problem::Problems::default());
    let merged = tree::merge([main, overrides]).unwrap_or_default();
    let settings::AdminSettings { listen, token } = resolve::resolve_admin(&merged, &defaults, environment, &problems);
    let mut errors = problems.into_errors(&name);
    let mut unreadable = errors.problems.extract_if(.., |problem| problem.key == "admin.token");
    let token = unreadable.next().map_or(Ok(token), |problem| Err(problem.to_string()));
    drop(unreadable);
    if errors.problems.is_empty() { Ok(AdminAccess { listen, token }) } else { Err(errors) }
}

/// Reads a configuration from text; `name` stands for it in messages. Blocks only where the text names files: secrets, `partners_dir`.
///
/// # Errors
///
/// As of [`load`].
pub fn parse(text: &str, kind: Kind, name: &str, context: &Context<'_>) -> Result<Loaded, ConfigErrors> {
    let problems = problem::Problems::default();
    let mut warnings = Vec::new();
    let defaults = format::parse(DEFAULTS, Kind::Toml, &tree::Origin::main("defaults.toml"), &problems);
    let main = format::parse(text, kind, &tree::Origin::main(name), &problems);
    // A file that cannot be read as a whole has no keys to check.
    if !problems.is_empty() && main.is_empty() {
        return Err(problems.into_errors(name));
    }
    let partners = match partners_dir(&main, &defaults, &problems) {
        folder if folder.is_empty() => tree::Tree::new(),
        folder => file::read_partners(&folder, &main, &problems, &mut warnings),
    };
    let merged = match tree::merge([partners, main, context.environment.overrides(&problems)]) {
        Ok(merged) => merged,
        Err(error) => {
            problems.add("--config", format!("the layers cannot be merged: {error}"), None);
            return Err(problems.into_errors(name));
        }
    };
    known::check(&merged, &defaults, &problems);
    let settings = resolve::resolve(&merged, &defaults, context, &problems, &mut warnings);
    // By key, as problems are: the trees are hash maps.
    warnings.sort();
    if problems.is_empty() { Ok(Loaded { settings, warnings }) } else { Err(problems.into_errors(name)) }
}

fn partners_dir(main: &tree::Tree, defaults: &tree::Tree, problems: &problem::Problems) -> String {
    section::Section::new(vec![section::Level { path: "", table: main }], defaults, problems).get("partners_dir")
}
