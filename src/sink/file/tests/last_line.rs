//! What becomes of a last line that was left without its end.

use super::*;

/// Delivers `new` to a file that contains `before`, and returns the file's content afterwards.
fn appended_to(before: &[u8]) -> Vec<u8> {
    let stage = Stage::new();
    fs::create_dir_all(stage.path("acme").parent().unwrap()).unwrap();
    fs::write(stage.path("acme"), before).unwrap();
    assert_eq!(stage.deliver("acme", &["new"]), Answer::Accepted);
    fs::read(stage.path("acme")).unwrap()
}

#[test]
fn a_torn_last_line_is_cut_off_before_appending() {
    for (before, after) in [
        ("1\n2\n{\"to", "1\n2\n"),
        ("{\"to", ""),
        ("1\n", "1\n"),
        ("", ""),
        ("1\n{\"a\":tr", "1\n"),
        ("1\n{\"a\":\"\\u00", "1\n"),
        ("1\n[{\"a\":-", "1\n"),
        ("1\n[1.", "1\n"),
        ("1\n[1e+", "1\n"),
        ("1\n[\"\\", "1\n"),
        ("1\n[", "1\n"),
        ("1\n{\"a\"", "1\n"),
        ("1\n-", "1\n"),
        ("1\n\"tex", "1\n"),
        ("1\nnul", "1\n"),
        // This may be the beginning of 123.
        ("1\n12", "1\n"),
    ] {
        assert_eq!(String::from_utf8(appended_to(before.as_bytes())).unwrap(), format!("{after}new\n"), "{before:?}");
    }
    // The line is torn within a character.
    assert_eq!(appended_to(b"1\n{\"name\":\"Kr\xc3"), b"1\nnew\n");
    let long = format!("1\n{{\"a\":\"{}", "x".repeat(300_000));
    assert_eq!(appended_to(long.as_bytes()), b"1\nnew\n", "longer than one read");
}

#[test]
fn a_last_line_that_is_whole_or_not_ours_is_kept_and_gets_its_end() {
    for before in [
        "1\n{\"a\":1}",
        "[1]",
        "1\n\"text\"",
        "true",
        "what a person wrote",
        "1\n{\"a\":1} {\"b\"",
        "{a",
        "1\n\u{fc}",
        "truth",
        "{\"a\":1}x",
    ] {
        assert_eq!(String::from_utf8(appended_to(before.as_bytes())).unwrap(), format!("{before}\nnew\n"), "{before:?}");
    }
    let mut foreign = b"x".repeat(300_000);
    foreign[0] = 0xff;
    assert_eq!(appended_to(&foreign), [&foreign[..], b"\nnew\n"].concat());
}

#[test]
fn a_file_without_lines_is_left_alone() {
    let stage = Stage::new();
    fs::create_dir_all(stage.path("acme").parent().unwrap()).unwrap();
    let before = "[".repeat(16 * 1024 * 1024 + 1);
    fs::write(stage.path("acme"), &before).unwrap();
    let reason = reason(stage.deliver("acme", &["1"]));
    assert!(reason.contains("acme.jsonl") && reason.contains("move it away"), "{reason}");
    assert!(fs::read(stage.path("acme")).unwrap() == before.as_bytes());
}
