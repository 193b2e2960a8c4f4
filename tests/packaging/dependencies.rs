//! `.cargo/deny.toml` is enforced: cargo-deny, called as in `scripts/test`, refuses crates, licences and sources that
//! are not on its lists. Each case is a package of its own in an empty folder, with nothing to fetch.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Checks a package that depends on this crate. Returns whether it passed, and the output.
fn check(dependency: &str, at: &Path) -> (bool, String) {
    let workspace = tempfile::tempdir().unwrap();
    package(workspace.path(), "ours", "MIT", &format!("{dependency} = {{ version = \"1.0.0\", {} }}", source(at)));
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = top.join("target/cargo-deny/bin/cargo-deny");
    assert!(program.exists(), "{} is missing: scripts/test installs what this test needs", program.display());
    let mut command = Command::new(program);
    command.args(["--color", "never", "--config"]).arg(top.join(".cargo/deny.toml"));
    let output = command.args(["check", "bans", "licenses", "sources"]).current_dir(workspace.path()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap())
}

/// Returns the source from which cargo takes a crate: its repository if the folder is one, otherwise the folder.
fn source(at: &Path) -> String {
    if at.join(".git").exists() { format!("git = 'file://{}'", at.display()) } else { format!("path = '{}'", at.display()) }
}

fn package(folder: &Path, name: &str, licence: &str, dependencies: &str) {
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/lib.rs"), "").unwrap();
    let manifest =
        format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nlicense = \"{licence}\"\n[dependencies]\n{dependencies}\n");
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
}

fn dependency(name: &str, licence: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), name, licence, "");
    folder
}

#[test]
fn a_crate_that_nothing_is_wrong_with_passes() {
    let fine = dependency("fine", "MIT OR Apache-2.0");
    let (passed, said) = check("fine", fine.path());
    assert!(passed, "{said}");
}

#[test]
fn a_licence_that_is_not_listed_is_refused() {
    let viral = dependency("viral", "AGPL-3.0-only");
    let (passed, said) = check("viral", viral.path());
    assert!(!passed && said.contains("AGPL-3.0-only") && said.contains("licenses FAILED"), "{said}");
}

#[test]
fn a_runtime_and_a_second_tls_library_are_refused() {
    for name in ["tokio", "rustls"] {
        let banned = dependency(name, "MIT");
        let (passed, said) = check(name, banned.path());
        assert!(!passed && said.contains(name) && said.contains("bans FAILED"), "{said}");
    }
}

#[test]
fn a_crate_from_a_repository_is_refused() {
    let elsewhere = dependency("elsewhere", "MIT");
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "."],
        &["-c", "user.name=n", "-c", "user.email=n@example.com", "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "All"],
    ] {
        assert!(Command::new("git").args(arguments).current_dir(elsewhere.path()).status().unwrap().success());
    }
    let (passed, said) = check("elsewhere", elsewhere.path());
    assert!(!passed && said.contains("sources FAILED"), "{said}");
}
