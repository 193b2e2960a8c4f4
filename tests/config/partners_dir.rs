//! The folder of partner files: one or more partners per file, in TOML or INI, each account in one place.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use octoconf::config::{self, ConfigErrors, Context, Environment, FileFormat, Loaded};
use octoconf::handler::Registry;

const MAIN: &str = "[queues.q]\nsource = 'memory'\nhandler = 'order'\n[partners.default]\ndeliver = 'discard'\nburst = 4\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn parse(folder: &Path, below: &str, environment: &Environment) -> Result<Loaded, ConfigErrors> {
    let context = Context { environment, handlers: &Registry::new() };
    let text = format!("partners_dir = {:?}\n{MAIN}{below}", folder.to_str().unwrap());
    config::parse(&text, FileFormat::Toml, "octoconf.toml", &context)
}

/// Returns the problems, without the folder's own path.
fn problems(folder: &Path, below: &str) -> Vec<String> {
    let errors = parse(folder, below, &Environment::default()).unwrap_err();
    errors.problems.iter().map(|problem| problem.to_string().replace(&format!("{}/", folder.display()), "")).collect()
}

#[test]
fn files_in_either_format_add_partners() {
    let folder = folder(&[
        ("acme.toml", "[partners.'acme.com']\nrate = '5/s'\n"),
        ("many.ini", "[partners.one]\nparallel = 2\n[partners.two.eu]\nburst = 9\n"),
        (".many.ini.swp", "not read"),
        ("README", "not read"),
    ]);
    let environment = Environment::from_iter([("OCTOCONF_PARTNERS__ONE__PARALLEL", "7")]);
    let loaded = parse(folder.path(), "[partners.here]\nburst = 2\n", &environment).unwrap();
    let partners = &loaded.settings.partners;
    let accounts: Vec<_> = partners.by_account.keys().map(|account| account.as_str()).collect();
    assert_eq!(accounts, ["acme.com", "here", "one", "two.eu"]);
    assert_eq!(partners.of("acme.com").burst, 4, "what every partner starts from is in the main file");
    assert_eq!(partners.of("one").parallel, 7, "the environment wins");
    assert_eq!(partners.of("two.eu").burst, 9);
    assert_eq!(loaded.settings.show()["partners_dir"], folder.path().to_str().unwrap());
    let shown = loaded.settings.show_text();
    assert!(shown.starts_with(&format!("# partners_dir = \"{}\": ", folder.path().display())), "{shown}");
    let context = Context { environment: &Environment::default(), handlers: &Registry::new() };
    let again = config::parse(&shown, FileFormat::Toml, "saved.toml", &context).unwrap().settings;
    assert_eq!(again.partners, loaded.settings.partners, "what is shown can be saved, with the partners of the folder");
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("README is not read"), "{:?}", loaded.warnings);
}

#[test]
fn an_account_in_two_places_is_refused_with_both() {
    let folder = folder(&[
        ("a.toml", "[partners.acme]\nburst = 1\n[partners.here]\nburst = 1\n"),
        ("b.ini", "[partners.acme]\nburst = 2\n"),
    ]);
    let expected = [
        "partners.acme: defined in a.toml and in b.ini; keep one of them",
        "partners.here: defined in the configuration file and in a.toml; keep one of them",
    ];
    assert_eq!(problems(folder.path(), "[partners.here]\nburst = 2\n"), expected);
}

#[test]
fn problems_in_a_file_name_it() {
    let folder = folder(&[
        ("a.toml", "[partners.acme]\nburts = 1\nrate = 'fast'\n[engine]\nlog = 'debug'\n[partners.default]\nburst = 3\n"),
        ("b.toml", "[partners.\n"),
        ("c.ini", "what\n"),
    ]);
    std::fs::write(folder.path().join("d.toml"), b"\xff").unwrap();
    let found = problems(folder.path(), "");
    let starts = [
        "b.toml:1:11: not TOML",
        "c.ini:1: neither [SECTION], nor KEY = VALUE",
        "engine: only [partners.ACCOUNT] sections may stand in a file of partners_dir; move this to the configuration file (from a.toml)",
        "partners.acme.burts: unknown key; did you mean burst? (from a.toml)",
        "partners.acme.rate: found \"fast\"; write a rate such as \"50/s\", \"300/m\" or \"10/h\", or \"\" for none (from a.toml)",
        "partners.default: what every partner starts from belongs in the configuration file; move it there (from a.toml)",
        "partners_dir: d.toml is not UTF-8",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for found in &found {
        assert!(starts.iter().any(|start| found.starts_with(start)), "{found}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused_and_a_folder_is_not() {
    let folder = folder(&[("a.toml", "[partners.acme]\nburst = 1\n")]);
    symlink("nowhere", folder.path().join("b.toml")).unwrap();
    symlink("c.ini", folder.path().join("c.ini")).unwrap();
    let _socket = UnixListener::bind(folder.path().join("d.toml")).unwrap();
    std::fs::create_dir(folder.path().join("sub.toml")).unwrap();
    let found = problems(folder.path(), "");
    assert_eq!(
        found,
        [
            "partners_dir: b.toml is a link to nowhere, which does not exist; fix or remove the link",
            "partners_dir: c.ini cannot be read: Too many levels of symbolic links (os error 40); check that it exists and may be read",
            "partners_dir: d.toml is no regular file; move it away, or name a file of partners in its place",
        ]
    );
    for name in ["b.toml", "c.ini", "d.toml"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let warnings = parse(folder.path(), "", &Environment::default()).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].ends_with("sub.toml is a folder, and what is in it is not read; move its files up"), "{warnings:?}");
}

/// Kubernetes mounts a volume as links through `..data`, which it replaces atomically.
#[test]
fn a_mounted_volume_is_read() {
    let folder = folder(&[]);
    let data = folder.path().join("..2026_01_01");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("acme.toml"), "[partners.acme]\nburst = 7\n").unwrap();
    symlink("..2026_01_01", folder.path().join("..data")).unwrap();
    symlink("..data/acme.toml", folder.path().join("acme.toml")).unwrap();
    let loaded = parse(folder.path(), "", &Environment::default()).unwrap();
    assert_eq!((loaded.settings.partners.of("acme").burst, loaded.warnings.len()), (7, 0));
}

#[test]
fn a_missing_folder_is_refused_and_an_empty_one_is_not() {
    let folder = folder(&[]);
    assert!(parse(folder.path(), "", &Environment::default()).is_ok());
    let missing = problems(&folder.path().join("missing"), "");
    assert_eq!(missing.len(), 1);
    assert!(missing[0].starts_with("partners_dir: ") && missing[0].contains("make the folder"), "{missing:?}");
}
