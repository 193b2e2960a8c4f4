use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn problem(text: &str) -> (u64, usize, Problem) {
    let error = check(text.as_bytes(), Bounds::NONE).unwrap_err();
    (error.line, error.column, error.problem)
}

#[test]
fn every_kind_of_value_passes() {
    for text in [
        "0",
        "-0",
        "10.5e-3",
        "1E+9",
        "123456789012345678901234567890",
        r#""""#,
        r#""\"\\\/\b\f\n\r\t\u00e9 \ud800 ü""#,
        "true",
        "false",
        "null",
        "[]",
        "{}",
        " [ 1 , [ ] , { } ] ",
        "\t{\"a\" : {\"b\":[1,2]},\r\n\"a\":null}\n",
    ] {
        assert_eq!(check(text.as_bytes(), Bounds::NONE), Ok(()), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, line, column, expected) in [
        ("", 1, 1, Problem::Ends),
        ("  ", 1, 3, Problem::Ends),
        ("x", 1, 1, Problem::Value),
        ("nul", 1, 4, Problem::Ends),
        ("nulx", 1, 1, Problem::Word),
        ("NaN", 1, 1, Problem::Value),
        ("01", 1, 2, Problem::LeadingZero),
        ("-", 1, 2, Problem::Ends),
        ("-x", 1, 2, Problem::Digit),
        ("1.", 1, 3, Problem::Ends),
        ("1.e5", 1, 3, Problem::Digit),
        ("+1", 1, 1, Problem::Value),
        ("\"a", 1, 3, Problem::Ends),
        ("\"a\nb\"", 1, 3, Problem::Control),
        (r#""\x""#, 1, 3, Problem::Escape),
        (r#""\u12g4""#, 1, 6, Problem::Escape),
        ("[1 2]", 1, 4, Problem::CommaOrBracket),
        ("[1,]", 1, 4, Problem::Value),
        ("{\"a\":1,\n \"b\" 2}", 2, 6, Problem::Colon),
        ("{\"a\":1 \"b\"}", 1, 8, Problem::CommaOrBrace),
        ("{a:1}", 1, 2, Problem::Name),
        ("{\"a\":1,}", 1, 8, Problem::Name),
        ("[1}", 1, 3, Problem::CommaOrBracket),
        ("1 1", 1, 3, Problem::Trailing),
        ("{} // no", 1, 4, Problem::Trailing),
        ("\u{feff}{}", 1, 1, Problem::Value),
    ] {
        assert_eq!(problem(text), (line, column, expected), "{text:?}");
    }
    let error = check(b"[\"a\xff\"]", Bounds::NONE).unwrap_err();
    assert_eq!(error.to_string(), "invalid UTF-8 at line 1 column 4");
}

#[test]
fn the_outermost_field_is_named() {
    for (text, expected) in [
        (r#"{"quantity": x}"#, "a value was expected at line 1 column 14, field `quantity`"),
        (r#"{"a": 1, "b": {"c": [tru]}}"#, "`true`, `false` or `null` was expected at line 1 column 22, field `b`"),
        (r#"{"a": 1 "b"}"#, "`,` or `}` was expected at line 1 column 9, field `a`"),
        (r#"[{"a": x}]"#, "a value was expected at line 1 column 8"),
        (r#"{"a" 1}"#, "`:` was expected at line 1 column 6, field `a`"),
    ] {
        assert_eq!(check(text.as_bytes(), Bounds::NONE).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_long_name_is_cut() {
    let error = check(format!("{{\"{}\":}}", "é".repeat(100_000)).as_bytes(), Bounds::NONE).unwrap_err();
    assert_eq!(error.field, Some("é".repeat(64)));
}

#[test]
fn depth_costs_no_stack() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(check(deep.as_bytes(), Bounds::NONE), Ok(()));
    let error = check(deep.as_bytes(), Bounds::DEPTH).unwrap_err();
    assert_eq!(error.to_string(), "more than 128 levels of arrays and objects at line 1 column 129");
    assert_eq!(problem(&"{\"a\":[".repeat(100_000)).2, Problem::Ends);
}

#[test]
fn long_numbers_pass_unless_they_become_values() {
    for (number, passes) in [("7".repeat(1000), true), ("7".repeat(1001), false), (format!("-1.{}e5", "0".repeat(1000)), false)] {
        let text = format!("[1, {number}]");
        assert_eq!(check(text.as_bytes(), Bounds::DEPTH), Ok(()));
        let refused = check(text.as_bytes(), Bounds::VALUE).map_err(|error| (error.column, error.problem));
        assert_eq!(refused, if passes { Ok(()) } else { Err((5, Problem::LongNumber)) });
    }
}

#[test]
fn too_deep_is_told_from_many_brackets() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(!is_too_deep(&nested(MAX_DEPTH)));
    assert!(is_too_deep(&nested(MAX_DEPTH + 1)));
    assert!(!is_too_deep(&format!("[{}1]", "[],".repeat(1000))));
    assert!(!is_too_deep(&format!("[\"{}\"]", "[".repeat(1000))));
}

#[test]
fn a_number_is_a_number_and_nothing_else() {
    for text in ["0", "-1.50", "2e9", "38383838383838383838383838383838383838"] {
        assert!(is_number(text), "{text}");
    }
    for text in ["", "-", "+1", "01", "0123.5", "1 ", "1x", ".5", "NaN", "Infinity"] {
        assert!(!is_number(text), "{text}");
    }
}

/// Texts that are often JSON and often nearly JSON: pieces of the grammar, joined at random.
fn nearly_json() -> impl Strategy<Value = String> {
    const PIECES: [&str; 24] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"\\u00e9\"",
        "\"\\ud8\"",
        "\"",
        "\\",
        "0",
        "-1",
        "1.5",
        "2e",
        "E9",
        ".",
        "true",
        "nul",
        "null",
        " ",
        "\n",
        "\u{1}",
        "ü",
    ];
    let soup = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12).prop_map(|pieces| pieces.concat());
    let value = any::<(Vec<(String, f64)>, Vec<Option<bool>>, i64)>()
        .prop_map(|(pairs, flags, number)| serde_json::json!({ "p": pairs, "f": flags, "n": [number, { "": {} }] }).to_string());
    let bitten = (value, any::<prop::sample::Index>(), prop::sample::select(&PIECES[..]), 0..3_usize).prop_map(
        |(text, at, piece, cut)| {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, piece.chars());
            chars.into_iter().collect()
        },
    );
    prop_oneof![soup, bitten]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn agrees_with_serde_json(text in nearly_json()) {
        let theirs = serde_json::from_str::<IgnoredAny>(&text);
        prop_assert_eq!(check(text.as_bytes(), Bounds::NONE).is_ok(), theirs.is_ok(), "{:?} {:?}", text, theirs);
    }

    #[test]
    fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(error) = check(&bytes, Bounds::VALUE) {
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
