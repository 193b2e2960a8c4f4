//! The systemd units and the scripts that install them: systemd accepts the units, and
//! installing twice is the same as once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use octoconf::config::{self, Context, Environment, FileFormat};
use octoconf::handler::Registry;

const UNITS: [&str; 2] = ["octoconf.service", "octoconf@.service"];

fn unit(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)).unwrap()
}

/// Returns the values of a key, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Runs `systemd-analyze`, which Debian's package systemd contains; returns whether it succeeded, and its output.
fn analyze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).output();
    let output = output.expect("systemd-analyze is missing: sudo apt-get install systemd");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn systemd_finds_nothing_wrong_and_the_sandbox_is_tight() {
    let folder = tempfile::tempdir().unwrap();
    for name in UNITS {
        // `verify` requires that the program exists.
        let text = unit(name).replace("/usr/local/bin/octoconf", env!("CARGO_BIN_EXE_octoconf"));
        let instance = folder.path().join(name.replace('@', "@2"));
        fs::write(folder.path().join(name), &text).unwrap();
        let (fine, said) = analyze(&["verify", "--man=no", instance.to_str().unwrap()]);
        assert!(fine && !said.contains(name.trim_end_matches(".service")), "{name}: {said}");
        let (fine, said) = analyze(&["security", "--offline=true", "--threshold=15", folder.path().join(name).to_str().unwrap()]);
        assert!(fine, "{name} is worse than 1.5:\n{said}");
    }
}

#[test]
fn the_units_fit_the_program() {
    for name in UNITS {
        let unit = unit(name);
        assert_eq!(values(&unit, "Type"), ["notify"]);
        assert_eq!(values(&unit, "LimitNOFILE"), ["65536"]);
        let stop: u64 = values(&unit, "TimeoutStopSec").concat().parse().unwrap();
        for file in ["octoconf.toml", "sqs.toml"] {
            let credentials = folder_of_credentials(&unit);
            let environment = Environment::from_iter([("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap())]);
            let context = Context { environment: &environment, handlers: &Registry::new() };
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(file)).unwrap();
            let loaded = config::parse(&text, FileFormat::Toml, file, &context).unwrap();
            let shutdown = loaded.settings.engine.shutdown_timeout.as_secs();
            assert!(stop > shutdown + 10, "{name} gives {file} too little time to stop: {stop} s for {shutdown} s");
        }
    }
}

/// A folder with the credentials that the unit loads.
fn folder_of_credentials(unit: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for credential in values(unit, "LoadCredential") {
        let name = credential.split(':').next().unwrap();
        // The form that a signing secret must have, and every other secret may have.
        fs::write(folder.path().join(name), "Zm9yLXRoaXMtdGVzdA==").unwrap();
    }
    folder
}

#[test]
fn each_instance_has_its_own_port_and_folder() {
    let template = unit("octoconf@.service");
    let of = |instance: &str| {
        let [port, folder, work] =
            ["Environment", "StateDirectory", "WorkingDirectory"].map(|key| values(&template, key).concat());
        [port, folder, work].map(|value| value.replace("%i", instance))
    };
    let mut seen = BTreeMap::new();
    for instance in (1..=99).map(|instance: u32| instance.to_string()) {
        let [environment, folder, work] = of(&instance);
        let address = environment.strip_prefix("OCTOCONF_ADMIN__LISTEN=").unwrap().to_owned();
        address.parse::<std::net::SocketAddr>().unwrap();
        assert_eq!(work, format!("%S/{folder}"));
        assert_eq!(seen.insert(address, instance), None);
    }
    assert!(!seen.contains_key("127.0.0.1:9464"), "that is octoconf.service's");
}

/// Returns all files below a folder, with their modes and contents.
fn tree(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.insert(name, (mode, fs::read(&path).unwrap()));
            }
        }
    }
    files
}

fn script(name: &str, root: &Path, arguments: &[&str]) -> String {
    script_in(Path::new("/"), name, root, arguments)
}

/// Runs a script in a folder, from which relative paths count.
fn script_in(folder: &Path, name: &str, root: &Path, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    let output = Command::new(script).args(arguments).env("DESTDIR", root).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A small program that stands in for the real one: copying hundreds of megabytes would prove nothing.
fn stand_in(folder: &Path) -> PathBuf {
    let program = folder.join("program");
    fs::write(&program, "#!/bin/sh\necho octoconf 0.0.0\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn relative_paths_start_at_the_callers_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    stand_in(folder);
    let root = Path::new("a root");
    let said = script_in(folder, "install", root, &["--binary=program"]);
    assert!(said.contains("octoconf 0.0.0") && said.contains("cd /var/lib/octoconf"), "{said}");
    let first = tree(&folder.join(root));
    script_in(folder, "install", root, &["--binary", "./program"]);
    assert_eq!(tree(&folder.join(root)), first);
    script_in(folder, "uninstall", root, &["--purge"]);
    assert!(tree(&folder.join(root)).is_empty());
}

/// The installed configuration alone tells a person where the keys are documented.
#[test]
fn the_installed_configuration_names_where_every_key_is_explained() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    script("install", root, &["--binary", stand_in(root).to_str().unwrap()]);
    let configuration = fs::read_to_string(root.join("etc/octoconf/octoconf.toml")).unwrap();
    assert!(configuration.contains("/usr/local/share/doc/octoconf"), "{configuration}");
    assert_eq!(fs::read_to_string(root.join("usr/local/share/doc/octoconf/defaults.toml")).unwrap(), config::DEFAULTS);
}

#[test]
fn the_scripts_explain_their_arguments() {
    let root = tempfile::tempdir().unwrap();
    for (name, option) in [("install", "--binary FILE"), ("uninstall", "--purge")] {
        let said = script(name, root.path(), &["--help"]);
        assert!(said.contains(option) && said.contains("DESTDIR") && !said.contains("set -eu"), "{said}");
    }
    assert!(tree(root.path()).is_empty());
}

#[test]
fn two_installations_are_one_and_its_removal_leaves_no_trace() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let stand_in = stand_in(root);
    let destination = root.join("root");
    let binary = ["--binary", stand_in.to_str().unwrap()];

    script("install", &destination, &binary);
    let first = tree(&destination);
    for (file, mode) in [
        ("usr/local/bin/octoconf", 0o755),
        ("usr/local/lib/systemd/system/octoconf.service", 0o644),
        ("usr/local/lib/systemd/system/octoconf@.service", 0o644),
        ("usr/local/share/doc/octoconf/defaults.toml", 0o644),
        ("etc/octoconf/octoconf.toml", 0o644),
    ] {
        assert_eq!(first.get(file).map(|(mode, _)| *mode), Some(mode), "{file}");
    }
    let own = destination.join("etc/octoconf/octoconf.toml");
    fs::write(&own, "# my own\n").unwrap();
    fs::write(destination.join("etc/credstore/octoconf.admin-token"), "secret").unwrap();
    let before = tree(&destination);
    script("install", &destination, &binary);
    assert_eq!(tree(&destination), before, "a second time changes nothing, the configuration least of all");

    script("uninstall", &destination, &[]);
    script("uninstall", &destination, &[]);
    let left: Vec<String> = tree(&destination).into_keys().collect();
    assert_eq!(left, ["etc/credstore/octoconf.admin-token", "etc/octoconf/octoconf.toml"]);
    script("uninstall", &destination, &["--purge"]);
    assert!(tree(&destination).is_empty());
}
