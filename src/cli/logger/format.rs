//! Formats log lines: as text, as JSON, or with the priority that the journal understands.

use std::os::fd::AsFd;
use std::time::Duration;

use log::Level;
use octoconf::commands::shown_json;
use octoconf::rfc3339;
use serde_json::{Map, Value, json};

/// The chosen format, with `auto` resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Text,
    Json,
    Journald,
}

impl Look {
    /// Returns one record as a line with its line break; `since` is the time since the Unix epoch.
    pub fn line(self, level: Level, target: &str, message: &str, since: Duration) -> String {
        match self {
            Self::Text => format!("[{} {level:5} {target}] {message}\n", time(since)),
            Self::Json => {
                let level = level.as_str().to_ascii_lowercase();
                let mut line = json!({ "time": time(since), "level": level, "target": target, "message": message });
                let fields = fields(message);
                if let (false, Some(line)) = (fields.is_empty(), line.as_object_mut()) {
                    line.insert("fields".to_owned(), fields.into());
                }
                shown_json(&format!("{line}\n"))
            }
            Self::Journald => {
                // The journal makes an entry of each line, and a line without a priority would get the default one.
                let priority = priority(level);
                message.trim_end().lines().map(|line| format!("<{priority}>{line}\n")).collect()
            }
        }
    }
}

/// Returns the priority as `sd-daemon(3)` numbers it.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Returns the time in RFC 3339 with milliseconds, in UTC.
fn time(since: Duration) -> String {
    rfc3339::millis(std::time::UNIX_EPOCH + since).to_string()
}

/// Returns the `key=value` pairs of a message, as our own lines write them. A value is a word, or
/// quoted: an account is a JSON string, all else has the form of `{:?}`.
fn fields(message: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut rest = message;
    while let Some(at) = rest.find('=') {
        let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
        let key = before.rsplit(' ').next().unwrap_or_default();
        let is_key =
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !is_key {
            rest = after;
            continue;
        }
        let (value, left) = value(after);
        fields.insert(key.to_owned(), value);
        rest = left;
    }
    fields
}

/// Returns the value at the start of the text, and the rest of the text. A quoted value is always text, even if it
/// looks like a number, since an account may look like one.
fn value(text: &str) -> (Value, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let (value, rest) = match strings.next() {
            Some(Ok(value)) => (value, text.get(strings.byte_offset()..).unwrap_or_default()),
            // What is JSON in the form of `{:?}` means the same there.
            _ => unquoted(quoted),
        };
        return (value.into(), rest);
    }
    let end = text.find([' ', ';']).unwrap_or(text.len());
    let word = text.get(..end).unwrap_or_default();
    let number = word.parse::<u64>().map(Value::from).or_else(|_| word.parse::<f64>().map(Value::from));
    // JSON has no form for numbers that are not finite.
    let value = number.ok().filter(|number| !number.is_null()).unwrap_or_else(|| word.into());
    (value, text.get(end..).unwrap_or_default())
}

/// Returns a text in the form of `{:?}` up to the closing quote, unescaped, and the rest.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, plain @ ('"' | '\\' | '\''))) => value.push(plain),
                Some((_, '0')) => value.push('\0'),
                Some((at, 'u')) => {
                    let code =
                        quoted.get(at + 1..).and_then(|rest| rest.strip_prefix('{')?.split_once('}')).map(|(code, _)| code);
                    let meant = code.and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
                    match (meant, code) {
                        (Some(meant), Some(code)) => {
                            value.push(meant);
                            // The code and its braces.
                            characters.nth(code.len() + 1);
                        }
                        _ => value.push_str("\\u"),
                    }
                }
                Some((_, other)) => value.extend(['\\', other]),
                None => {}
            },
            plain => value.push(plain),
        }
    }
    (value, "")
}

/// Whether standard error is the stream that `$JOURNAL_STREAM` (`DEVICE:INODE`) names.
pub fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr().as_fd()) else { return false };
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_millis(1_700_000_000_123);

    #[test]
    fn the_journal_gets_a_priority_on_each_line() {
        let line = |level, text| Look::Journald.line(level, "octoconf::engine", text, AT);
        assert_eq!(line(Level::Error, "it ended\nfor two reasons"), "<3>it ended\n<3>for two reasons\n");
        assert_eq!(line(Level::Warn, "a") + &line(Level::Info, "b") + &line(Level::Debug, "c"), "<4>a\n<6>b\n<7>c\n");
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_of_the_message() {
        let message =
            r#"a partner waits: partner="ac\"me, x=1" queue=stock failures=3 for_s=1.5 reason="answered 503: \n" ; try y"#;
        let line = Look::Json.line(Level::Warn, "octoconf::engine::notes", message, AT);
        assert_eq!(line.lines().count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["level"], &value["time"]), (&"warn".into(), &"2023-11-14T22:13:20.123Z".into()));
        assert_eq!(value["message"], message);
        let fields =
            json!({ "partner": "ac\"me, x=1", "queue": "stock", "failures": 3, "for_s": 1.5, "reason": "answered 503: \n" });
        assert_eq!(value["fields"], fields);
    }

    /// Whoever groups lines by a field finds the partner of this name, and no other.
    #[test]
    fn a_field_is_the_text_that_was_quoted() {
        for text in ["a\0b", "a\\0b", "\u{202e}a\u{9b}2J", "\\u{202e}a", "a\u{feff}\u{e0041}\u{301}b", "a\nb\r\tc\\'\"", "\u{7f}"]
        {
            let line = Look::Json.line(Level::Warn, "octoconf", &format!("it waits: partner={text:?} n=1"), AT);
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["fields"], json!({ "partner": text, "n": 1 }), "{line}");
            assert!(!line.contains(['\u{202e}', '\u{9b}', '\u{7f}', '\u{feff}']), "{line:?}");
        }
        let odd = [r"\u{110000}", r"\u{x}", r"\u", r"\u12", r"\u+123", r"\ud800"];
        for odd in odd {
            assert_eq!(Value::from(fields(&format!("odd=\"{odd}\""))), json!({ "odd": odd }));
        }
    }

    /// Accounts are written so, as the commands take them.
    #[test]
    fn a_field_may_be_a_json_string() {
        let quoted = r#"\u202ea\udb40\udc41\b\f\/\"\\\n"#;
        let account: String = serde_json::from_str(&format!("\"{quoted}\"")).unwrap();
        assert_eq!(Value::from(fields(&format!("partner=\"{quoted}\" n=1"))), json!({ "partner": account, "n": 1 }));
    }

    #[test]
    fn what_only_looks_like_a_field_is_none() {
        assert!(fields("see https://h/?A=1 and a == b, ÄB=3, =").is_empty());
        assert_eq!(Value::from(fields("cut: reason=\"no end")), json!({ "reason": "no end" }));
        assert_eq!(Value::from(fields("key= next=2 nan=NaN id=\"7\"")), json!({ "key": "", "next": 2, "nan": "NaN", "id": "7" }));
    }

    #[test]
    fn the_journal_is_known_by_its_device_and_inode() {
        let stat = rustix::fs::fstat(std::io::stderr().as_fd()).unwrap();
        assert!(is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
        assert!(!is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino + 1))));
        assert!(!is_journal(Some("nonsense")) && !is_journal(None));
    }
}
