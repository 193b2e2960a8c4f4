//! The dispatcher is pure: it uses no channel, clock, log, file, socket or thread, and none of the modules around it.

use std::path::Path;

/// The names that no file of the folder may use; `tests/` is exempt.
const FOREIGN: [&str; 20] = [
    "crossbeam_channel",
    "Instant::now",
    "SystemTime::now",
    "log::",
    "std::thread",
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::process",
    "std::sync::mpsc",
    "println!",
    "crate::config",
    "crate::queue",
    "crate::sink",
    "crate::engine",
    "crate::handler",
    "crate::admin",
    "crate::commands",
    "parking_lot",
];

#[test]
fn the_pure_core_imports_nothing_of_the_outside() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dispatch"), &mut files);
    assert!(files.len() > 20, "the folder moved? Found only {} files", files.len());
    let here = Path::new("dispatch/tests");
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !path.to_string_lossy().contains(&*here.to_string_lossy())) {
        for foreign in FOREIGN {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains(foreign)) {
                found.push(format!("{}:{}: {foreign} in: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "the dispatcher decides and does not act; move this to an edge:\n{}", found.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<(std::path::PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).expect("the sources are beside their tests") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            files.push((path, text));
        }
    }
}
