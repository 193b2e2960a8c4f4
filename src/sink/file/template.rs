//! The path of a partner's file: the configured path, with `{queue}` and `{account}` filled in so that no value can
//! lead out of the folder or to another account's file.
//!
//! Pure: no file is touched here.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::sink::placeholders::{self, Piece};

/// The largest number of bytes of a file or folder name on the file systems of Linux.
const NAME_MAX: usize = 255;
/// The largest number of bytes of a path that Linux takes (`PATH_MAX`, without the NUL).
const PATH_MAX: usize = 4095;
/// The number of bytes with which a shortened value ends: a tilde, which no encoded value contains, and half of a
/// SHA-256 digest in hexadecimal.
const DIGEST: usize = 1 + 32;

/// A path with placeholders, parsed once at the start.
#[derive(Debug)]
pub struct Template {
    /// The folder above the first placeholder, or above the file if there is none. The administrator chose this folder,
    /// so symbolic links in it are followed.
    root: PathBuf,
    /// The names below the root, at least one. The last is the file.
    names: Vec<Name>,
    /// Whether any of the names contains a placeholder.
    placeholders: bool,
}

/// One file or folder name of a template.
#[derive(Debug)]
struct Name {
    parts: Vec<Piece>,
    /// A character of each text between a queue and an account. It is encoded in the account, so that the name can be
    /// taken apart again: `stock-eu-acme` is the account `acme` of `stock-eu`, since `eu-acme` of `stock` has `%2D`.
    separators: Vec<char>,
    /// The largest number of bytes that each placeholder's value may take.
    room: usize,
}

/// A template filled in for one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePath {
    /// The folder to start from.
    pub root: PathBuf,
    /// The folders below the root, from the outermost. None of them may be a symbolic link.
    pub folders: Vec<String>,
    /// The name of the file.
    pub file: String,
    /// Whether the file itself may be a symbolic link: only if no placeholder chose any part of the path.
    pub follow: bool,
    /// The whole path: the key of the open file, and its name in errors.
    pub path: PathBuf,
}

/// Why a configured path cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The path is empty or ends in a slash, so there is no file to write.
    #[error("path {0:?} names no file: end it with a file name such as {{account}}.jsonl")]
    NoFile(String),
    /// The path contains an unknown placeholder. If a misspelt one were accepted, all partners would write to one file.
    #[error("path {path:?} holds {found:?}: the placeholders are {{queue}} and {{account}}")]
    Unknown { path: String, found: String },
    /// A name is too long for any file system. The error shows only its beginning.
    #[error("the name {name:?}… has, with its placeholders, more than the {NAME_MAX} bytes of a file name: shorten it")]
    TooLong { name: String },
    /// The whole path is too long.
    #[error("the path has, with its placeholders, more than the {PATH_MAX} bytes that the system takes: shorten it")]
    LongPath,
    /// Nothing stands between the queue and the account, or only what an encoded account contains too, so two buckets
    /// could get one file.
    #[error(
        "the name {0:?} does not show where the queue ends and the account begins, so two accounts could share a file: write {{queue}}-{{account}} or {{queue}}/{{account}}"
    )]
    RunTogether(String),
    /// The path contains `.` or `..` where it must not: below a placeholder, `..` would lead out of the partner's
    /// folder, and neither is the name of a file.
    #[error("path {0:?} has \".\" or \"..\" below a placeholder or in place of the file: write the folder or file that is meant")]
    Dots(String),
    /// The path contains a NUL, where it would end for the kernel.
    #[error("path {0:?} holds a NUL, which a file name cannot contain: leave it out")]
    Nul(String),
}

impl TemplateError {
    fn too_long(name: &str) -> Self {
        Self::TooLong { name: name.chars().take(40).collect() }
    }
}

impl Template {
    /// Parses a configured path.
    pub fn parse(path: &str) -> Result<Self, TemplateError> {
        if path.contains('\0') {
            return Err(TemplateError::Nul(path.to_owned()));
        }
        let names: Vec<&str> = path.split('/').collect();
        let first_placeholder = names.iter().position(|name| name.contains(['{', '}'])).unwrap_or(names.len() - 1);
        let (above, below) = names.split_at(first_placeholder);

        let root = match above {
            [] => PathBuf::from("."),
            [""] => PathBuf::from("/"),
            _ => PathBuf::from(above.join("/")),
        };
        let (file, folders) = below.split_last().ok_or_else(|| TemplateError::NoFile(path.to_owned()))?;
        if file.is_empty() {
            return Err(TemplateError::NoFile(path.to_owned()));
        }
        // Two slashes in a row mean one, as everywhere in Unix.
        let used = folders.iter().filter(|name| !name.is_empty()).chain([file]);
        let names = used.map(|name| Name::parse(name, path)).collect::<Result<Vec<_>, _>>()?;
        // A path that is too long for the system would be taken for the fault of each account.
        if let Some(name) = above.iter().find(|name| name.len() > NAME_MAX) {
            return Err(TemplateError::too_long(name));
        }
        if root.as_os_str().len() + names.iter().map(|name| 1 + name.longest()).sum::<usize>() > PATH_MAX {
            return Err(TemplateError::LongPath);
        }
        Ok(Self { root, names, placeholders: path.contains('{') })
    }

    /// Returns the path of one bucket's file. Different accounts get different files if the path contains `{account}`,
    /// and different queues if it contains `{queue}`.
    pub fn fill(&self, queue: &str, account: &str) -> FilePath {
        let mut folders: Vec<String> = self.names.iter().map(|name| name.fill(queue, account)).collect();
        let file = folders.pop().unwrap_or_default();
        let mut path = self.root.clone();
        path.extend(folders.iter().map(Path::new));
        path.push(&file);
        FilePath { root: self.root.clone(), folders, file, follow: !self.placeholders, path }
    }
}

impl Name {
    fn parse(name: &str, path: &str) -> Result<Self, TemplateError> {
        if matches!(name, "." | "..") {
            return Err(TemplateError::Dots(path.to_owned()));
        }
        let unknown = |found: &str| TemplateError::Unknown { path: path.to_owned(), found: found.to_owned() };
        let parts = placeholders::pieces(name).map_err(unknown)?;
        let text: usize = parts.iter().map(|part| if let Piece::Text(text) = part { text.len() } else { 0 }).sum();
        let values = parts.iter().filter(|part| part.is_placeholder()).count();
        let too_long = || TemplateError::too_long(name);
        let left = NAME_MAX.checked_sub(text).ok_or_else(too_long)?;
        let room = left / values.max(1);
        if values > 0 && room < DIGEST {
            return Err(too_long());
        }
        let separators = separators(&parts).ok_or_else(|| TemplateError::RunTogether(name.to_owned()))?;
        Ok(Self { parts, separators, room })
    }

    /// Returns the largest number of bytes that the name can have.
    fn longest(&self) -> usize {
        self.parts.iter().map(|part| if let Piece::Text(text) = part { text.len() } else { self.room }).sum()
    }

    fn fill(&self, queue: &str, account: &str) -> String {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Piece::Text(text) => name.push_str(text),
                // Encoded in one of the two, the separator tells them apart. Queues have few and known names.
                Piece::Queue => push_encoded(&mut name, queue, &[], self.room),
                Piece::Account => push_encoded(&mut name, account, &self.separators, self.room),
            }
        }
        name
    }
}

/// Returns a character of each text between a queue and an account that no encoded value needs for something
/// else (as an escape or a digest does), or `None` if such a text has none.
fn separators(parts: &[Piece]) -> Option<Vec<char>> {
    let mut separators = Vec::new();
    let mut before: Option<&Piece> = None;
    let mut between = "";
    for part in parts {
        if let Piece::Text(text) = part {
            between = text;
            continue;
        }
        if before.is_some_and(|before| matches!(before, Piece::Queue) != matches!(part, Piece::Queue)) {
            separators
                .push(between.chars().find(|separator| !matches!(separator, '%' | '~' | '0'..='9' | 'A'..='F' | 'a'..='f'))?);
        }
        (before, between) = (Some(part), "");
    }
    Some(separators)
}

/// Appends a value in a form that can only be part of one name. Letters and digits of any script, `-`, `_`, `@`,
/// `+`, `=`, `,` and a dot that does not come first stand for themselves, unless `reserved` lists them; every other
/// byte becomes `%` and two hexadecimal digits. Different values stay different, since `%` itself is encoded. A value
/// longer than `room` bytes is cut and ends with its digest.
fn push_encoded(name: &mut String, value: &str, reserved: &[char], room: usize) {
    let start = name.len();
    // The place to cut if the value turns out too long: never within an encoded character.
    let mut cut = start;
    for (at, character) in value.char_indices() {
        let plain =
            character.is_alphanumeric() || matches!(character, '-' | '_' | '@' | '+' | '=' | ',') || (character == '.' && at > 0);
        if plain && !reserved.contains(&character) {
            name.push(character);
        } else {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                name.push_str(percent_encoding::percent_encode_byte(byte));
            }
        }
        if name.len() - start <= room - DIGEST {
            cut = name.len();
        } else if name.len() - start > room {
            name.truncate(cut);
            name.push('~');
            for byte in Sha256::digest(value.as_bytes()).iter().take(DIGEST / 2) {
                name.push_str(&format!("{byte:02x}"));
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn file_of(account: &str) -> String {
        Template::parse("out/{queue}/{account}.jsonl").unwrap().fill("stock", account).path.display().to_string()
    }

    #[test]
    fn ordinary_names_stay_readable() {
        assert_eq!(file_of("17850"), "out/stock/17850.jsonl");
        assert_eq!(file_of("acme.com"), "out/stock/acme.com.jsonl");
        assert_eq!(file_of("Søren_Åse-東京"), "out/stock/Søren_Åse-東京.jsonl");
        assert_eq!(file_of("two words"), "out/stock/two%20words.jsonl");
    }

    #[test]
    fn hostile_names_stay_one_name_in_their_folder() {
        for (account, name) in [
            ("../../x", "%2E.%2F..%2Fx"),
            (".", "%2E"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("a/b", "a%2Fb"),
            ("a\0b\n", "a%00b%0A"),
            ("100%", "100%25"),
            ("~", "%7E"),
            ("\u{202e}x", "%E2%80%AEx"),
        ] {
            assert_eq!(file_of(account), format!("out/stock/{name}.jsonl"));
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_and_told_apart_by_its_digest() {
        let long = "é".repeat(5000);
        let target = Template::parse("{account}.jsonl").unwrap().fill("stock", &long);
        assert!(target.file.len() <= NAME_MAX && target.file.len() > NAME_MAX - 4, "{}", target.file.len());
        assert!(target.file.starts_with("éééé") && target.file.ends_with(".jsonl"));
        assert_ne!(file_of(&long), file_of(&(long.clone() + "x")));
        assert!(Template::parse("{queue}-{account}").unwrap().fill(&long, &long).file.len() <= NAME_MAX);
        // Of 255 bytes, `.jsonl` leaves 249: those fit, one more does not.
        assert!(!file_of(&"a".repeat(249)).contains('~'));
        assert!(file_of(&"a".repeat(250)).contains('~'));
    }

    #[test]
    fn the_root_ends_above_the_first_placeholder() {
        let target = Template::parse("/var//lib/o-{queue}/new/{account}").unwrap().fill("q", "a");
        assert_eq!(
            (target.root.as_path(), target.folders.as_slice()),
            (Path::new("/var//lib"), &["o-q".into(), "new".into()][..])
        );
        assert_eq!(Template::parse("{account}").unwrap().fill("q", "a").root, Path::new("."));
        assert_eq!(Template::parse("/{account}").unwrap().fill("q", "a").root, Path::new("/"));
        let all = Template::parse("out/all.jsonl").unwrap().fill("q", "a");
        assert_eq!((all.root.as_path(), all.file.as_str()), (Path::new("out"), "all.jsonl"));
    }

    #[test]
    fn a_path_that_cannot_work_is_refused_with_its_reason() {
        for path in ["", "out/", "out/{account}/"] {
            assert_eq!(Template::parse(path).unwrap_err(), TemplateError::NoFile(path.into()));
        }
        for (path, found) in [("out/{acount}.jsonl", "{acount}"), ("out/a}b", "}"), ("out/{account", "{account")] {
            assert_eq!(Template::parse(path).unwrap_err(), TemplateError::Unknown { path: path.into(), found: found.into() });
        }
        let beside = |text: usize| Template::parse(&format!("{}{{account}}", "a".repeat(text)));
        assert!(beside(NAME_MAX - DIGEST).is_ok());
        assert!(matches!(beside(NAME_MAX - DIGEST + 1), Err(TemplateError::TooLong { .. })));
        assert!(Template::parse(&"x".repeat(255)).is_ok());
        assert!(Template::parse(&format!("{}/{{account}}", "x".repeat(255))).is_ok());
        assert!(matches!(Template::parse(&"x".repeat(5000)), Err(TemplateError::TooLong { .. })));
        assert!(matches!(Template::parse(&format!("{}/{{account}}", "x".repeat(256))), Err(TemplateError::TooLong { .. })));
        let deep = |folders: usize| Template::parse(&format!("{}{{account}}", "x/".repeat(folders)));
        assert!(matches!(deep(1921), Err(TemplateError::LongPath)));
        assert_eq!(deep(1920).unwrap().fill("q", &"y".repeat(1000)).path.as_os_str().len(), 4095);
        for path in ["{account}/../x", ".", "..", "out/."] {
            assert_eq!(Template::parse(path).unwrap_err(), TemplateError::Dots(path.into()));
        }
        assert_eq!(Template::parse("a\0b").unwrap_err(), TemplateError::Nul("a\0b".into()));
    }

    #[test]
    fn two_values_in_one_name_are_told_apart() {
        let fill = |path: &str, queue: &str, account: &str| Template::parse(path).unwrap().fill(queue, account).file;
        assert_eq!(fill("{queue}-{account}.jsonl", "stock-eu", "acme.com"), "stock-eu-acme.com.jsonl", "as ever");
        assert_eq!(fill("{queue}-{account}.jsonl", "stock", "eu-acme"), "stock-eu%2Dacme.jsonl");
        assert_eq!(fill("{account}.{queue}", "stock", "acme.com"), "acme%2Ecom.stock");
        assert_eq!(fill("{queue}0_{account}", "stock", "a_0"), "stock0_a%5F0", "a digit would stand in %30 again");
        assert_eq!(fill("{account}-{account}", "stock", "a-b"), "a-b-a-b", "one value twice is no other's");
        for path in
            ["{queue}{account}", "out/{account}{queue}.jsonl", "{queue}0{account}", "{queue}%{account}", "{queue}~{account}"]
        {
            assert!(Template::parse(path).unwrap_err().to_string().contains("{queue}-{account}"), "{path}");
        }
    }

    #[test]
    fn two_buckets_never_share_a_name() {
        let parts = ["a", "-", ".", "%", "2"];
        let pairs = parts.iter().flat_map(|one| parts.iter().map(move |other| format!("{one}{other}")));
        let values: Vec<String> =
            parts.iter().map(|part| (*part).to_owned()).chain(pairs).chain([format!("a-{}", "a".repeat(250))]).collect();
        let queues = || values.iter().flat_map(|end| ["", "a-", "a.", "a--"].map(|start| format!("{start}{end}")));
        for path in ["{queue}-{account}", "{account}.{queue}", "-{account}-.{queue}", "{queue}--{account}-"] {
            let template = Template::parse(path).unwrap();
            let mut buckets = std::collections::BTreeMap::new();
            for (queue, account) in queues().flat_map(|queue| queues().map(move |account| (queue.clone(), account))) {
                let name = template.fill(&queue, &account).file;
                if let Some(other) = buckets.insert(name, (queue.clone(), account.clone())) {
                    assert_eq!((queue, account), other, "{path}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_account_leaves_the_folder_and_no_two_share_a_file(a in any::<String>(), b in "[./%~a\\PC]{0,300}") {
            prop_assume!(!a.is_empty() && !b.is_empty());
            let template = Template::parse("{account}").unwrap();
            for account in [&a, &b] {
                let target = template.fill("stock", account);
                prop_assert!(target.file.len() <= NAME_MAX);
                prop_assert!(!target.file.contains('\0'));
                prop_assert_eq!(Path::new(&target.file).components().collect::<Vec<_>>(), [Component::Normal(target.file.as_ref())]);
            }
            prop_assert_eq!(template.fill("stock", &a) == template.fill("stock", &b), a == b);
        }
    }
}
