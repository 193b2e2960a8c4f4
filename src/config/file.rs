//! Reads the files of a configuration: text files up to a maximum size, and the folder of partner files.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use super::FileFormat;
use super::format;
use super::problem::{Problems, join};
use super::tree::{Origin, Tree, table};
use super::units::Size;

/// The maximum size of the configuration file and of each partner file, in bytes: room for a
/// few hundred thousand partners.
pub(super) const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a text file of at most `longest` bytes. The error says what is wrong and what to do,
/// and quotes nothing of the file.
pub(super) fn read_text(path: &Path, longest: u64) -> Result<String, String> {
    let cannot =
        |error: std::io::Error| format!("{} cannot be read: {error}; check that it exists and may be read", path.display());
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(longest + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > longest {
        return Err(format!("{} is longer than {}; check the path", path.display(), Size(longest)));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8; save it as UTF-8 text", path.display()))
}

/// Reads the partners from the files of a folder, in the order of the file names, into one tree.
///
/// A file holds one or more `[partners.ACCOUNT]` sections, written as in the configuration file, and nothing else.
/// Files whose names start with a dot are skipped, because editors and mounted volumes leave such files behind.
/// Folders, and files that are neither TOML nor INI, cause a warning. A TOML or INI file that cannot be read is a
/// problem, since its partners would silently get the default's settings.
pub(super) fn read_partners(folder: &str, main: &Tree, problems: &Problems, warnings: &mut Vec<String>) -> Tree {
    let mut partners = Tree::new();
    // The file that defines each account. Accounts of the configuration file count too.
    let mut defined: BTreeMap<String, String> =
        partners_of(main).map(|(account, _)| (account.clone(), "the configuration file".to_owned())).collect();
    for path in partner_files(folder, problems, warnings) {
        let name = path.display().to_string();
        let origin = Origin::other(&name);
        let text = match read_text(&path, MAX_FILE_BYTES) {
            Ok(text) => text,
            Err(text) => {
                problems.add("partners_dir", text, None);
                continue;
            }
        };
        let Some(kind) = FileFormat::of(&path) else { continue };
        let tree = format::parse(&text, kind, &origin, problems);
        for other in tree.keys().filter(|key| *key != "partners") {
            let text =
                "only [partners.ACCOUNT] sections may stand in a file of partners_dir; move this to the configuration file";
            problems.add(join("", other), text, Some(&name));
        }
        for (account, partner) in partners_of(&tree) {
            if account == "default" {
                let text = "what every partner starts from belongs in the configuration file; move it there";
                problems.add("partners.default", text, Some(&name));
            } else if let Some(first) = defined.get(account) {
                problems.add(join("partners", account), format!("defined in {first} and in {name}; keep one of them"), None);
            } else {
                defined.insert(account.clone(), name.clone());
                partners.insert(account.clone(), partner.clone());
            }
        }
    }
    Tree::from([("partners".to_owned(), Value::new(None, ValueKind::Table(partners)))])
}

fn partners_of(tree: &Tree) -> impl Iterator<Item = (&String, &Value)> {
    table(tree, &["partners"]).iter()
}

fn partner_files(folder: &str, problems: &Problems, warnings: &mut Vec<String>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            problems.add("partners_dir", format!("{folder} cannot be read: {error}; make the folder or leave the key out"), None);
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    for entry in entries.into_iter().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')) {
        let path = entry.path();
        let shown = path.display();
        // The metadata of the file that a link points to, not of the link.
        let meta = path.metadata();
        if meta.as_ref().is_ok_and(Metadata::is_dir) {
            warnings.push(format!("partners_dir: {shown} is a folder, and what is in it is not read; move its files up"));
        } else if FileFormat::of(&path).is_none() {
            warnings.push(format!("partners_dir: {shown} is not read; only .toml and .ini files are"));
        } else if let (Err(ErrorKind::NotFound), Ok(target)) = (meta.as_ref().map_err(std::io::Error::kind), path.read_link()) {
            let target = target.display();
            let text = format!("{shown} is a link to {target}, which does not exist; fix or remove the link");
            problems.add("partners_dir", text, None);
        } else if meta.is_ok_and(|meta| !meta.is_file()) {
            let text = format!("{shown} is no regular file; move it away, or name a file of partners in its place");
            problems.add("partners_dir", text, None);
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}
