//! The results of pipelines, what they refuse, and what they must not be able to do.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn message(body: impl Into<Bytes>) -> Message {
    Message::new("m1", body)
}

fn run(jq: &str, bucket: &str, body: impl Into<Bytes>) -> Outcome {
    compile(jq, bucket).unwrap().handle(&message(body))
}

/// Returns the payloads of a program, all of them for account `a`.
fn payloads(jq: &str, body: impl Into<Bytes>) -> Vec<String> {
    match run(jq, "\"a\"", body) {
        Outcome::Deliver(deliveries) => {
            assert!(deliveries.iter().all(|delivery| delivery.account == "a"));
            deliveries.iter().map(|delivery| String::from_utf8(delivery.payload.to_vec()).unwrap()).collect()
        }
        Outcome::Discard => Vec::new(),
        other => panic!("{jq}: {other:?}"),
    }
}

fn reason(jq: &str, bucket: &str, body: impl Into<Bytes>) -> String {
    match run(jq, bucket, body) {
        Outcome::Reject { reason } => reason,
        other => panic!("{jq}: {other:?}"),
    }
}

const STOCK: &str = r#"{"account":"17850","sku":"85123A","unit_price":2.550,"tags":["a","b"]}"#;

#[test]
fn the_pipeline_of_the_manual_delivers() {
    let payload = r#"{"sku":"85123A","price":2.550}"#;
    assert_eq!(run("{sku: .sku, price: .unit_price}", ".account", STOCK), Outcome::deliver("17850", payload));
}

#[test]
fn each_result_is_a_payload() {
    assert_eq!(payloads(".tags[]", STOCK), ["\"a\"", "\"b\""]);
    assert_eq!(payloads("empty", STOCK), Vec::<String>::new());
    assert_eq!(payloads("select(.sku == \"other\")", STOCK), Vec::<String>::new());
    assert_eq!(payloads("null", STOCK), ["null"]);
    assert_eq!(payloads(".[\"unit_price\"] * 2, (.tags | length), .sku[0:2]", STOCK), ["5.1", "2", "\"85\""]);
    assert_eq!(
        payloads("{b: 1, a: {c: [1, \"\\u00e9\\n\"]}} | ., keys", "1"),
        [r#"{"b":1,"a":{"c":[1,"é\n"]}}"#, r#"["a","b"]"#]
    );
}

#[test]
fn texts_are_replaced_as_jq_does_it_in_memory_by_their_length() {
    let replaced = |program: &str| payloads(program, "\"Abab a\"");
    assert_eq!(replaced("sub(\"a\"; \"x\")"), ["\"Abxb a\""]);
    assert_eq!(replaced("gsub(\"a\"; \"x\")"), ["\"Abxb x\""]);
    assert_eq!(replaced("gsub(\"a\"; \"<\\(.)>\")").len(), 1);
    assert_eq!(replaced("gsub(\"a\"; \"x\"; \"i\"), sub(\"A\"; \"x\"; \"gi\")"), ["\"xbxb x\"", "\"xbxb x\""]);
    assert_eq!(replaced("gsub(\"(?<first>a)(?<next>.)\"; \"\\(.next)\\(.first)\")"), ["\"Abba a\""]);
    assert_eq!(replaced("gsub(\"none\"; \"x\"), gsub(\"\"; \"\")"), ["\"Abab a\"", "\"Abab a\""]);
    // Several results, and none.
    assert_eq!(replaced("sub(\"a\"; \"x\", \"y\")"), ["\"Abxb a\"", "\"Abyb a\""]);
    assert_eq!(replaced("[gsub(\"a\"; \"x\", \"y\")] | length"), ["4"]);
    assert_eq!(replaced("[gsub(\"a\"; empty)]").len(), 1);
    assert!(reason("gsub(\"a\"; error(\"no\"))", ".", "\"a\"").contains("no"));
    let long = format!("\"{}\"", "a".repeat(5000));
    assert_eq!(payloads("gsub(\"a\"; \"b\") == \"b\" * 5000", long), ["true"]);
}

#[test]
fn numbers_that_are_passed_on_keep_their_digits() {
    let body = "[1.10, 12345678901234567890123456789, 1e400, -0.0, 3]";
    assert_eq!(payloads(".[]", body), ["1.10", "12345678901234567890123456789", "1e400", "-0.0", "3"]);
}

#[test]
fn an_error_rejects_with_its_text() {
    assert_eq!(reason("error(\"no price\")", ".account", STOCK), "no price");
    assert_eq!(reason("1, 2, error({code: 7})", ".account", STOCK), r#"{"code":7}"#);
    assert_eq!(reason("if .unit_price > 1 then error(\"\\(.sku) is dear\") else . end", ".account", STOCK), "85123A is dear");
    assert_eq!(reason(".sku.x", ".account", STOCK), "cannot index \"85123A\" with \"x\"");
    assert_eq!(
        reason("error(nan)", ".account", STOCK),
        "an error whose value cannot be shown: NaN is not a number that JSON knows"
    );
    assert_eq!(payloads("try error(\"x\") catch .", STOCK), ["\"x\""]);
}

#[test]
fn the_bucket_is_a_string_or_an_integer_of_the_body() {
    let to = |account: &str| match run("1", ".account", format!("{{\"account\":{account}}}")) {
        Outcome::Deliver(deliveries) => deliveries[0].account.to_string(),
        Outcome::Reject { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(to("\"ü x\""), "ü x");
    assert_eq!(to("17850"), "17850");
    assert_eq!(to("-3"), "-3");
    assert_eq!(to("123456789012345678901234567890"), "123456789012345678901234567890");
    assert_eq!(to("null"), "bucket `.account` is null or missing");
    assert_eq!(to(&format!("{:?}", "a".repeat(1025))), "bucket `.account` gave an account of 1025 bytes, 1024 are the limit");
    assert_eq!(to("\"\""), "bucket `.account` is empty");
    for other in ["1.5", "1e3", "true", "[\"a\"]", "{}"] {
        assert_eq!(to(other), "bucket `.account` is neither a string nor an integer");
    }
    assert_eq!(reason("1", ".account", "{}"), "bucket `.account` is null or missing");
    assert_eq!(reason("1", ".account", "[]"), "bucket `.account`: cannot index [] with \"account\"");
    assert_eq!(reason("1", "empty", "[]"), "bucket `empty` gave no account");
    assert_eq!(run("empty", ".account", "{}"), Outcome::Discard);
}

#[test]
fn as_many_buckets_as_payloads_are_paired() {
    let body = r#"[{"to":"a","n":1},{"to":"b","n":2},{"to":"a","n":3}]"#;
    let Outcome::Deliver(deliveries) = run(".[].n", ".[].to", body) else { panic!("not delivered") };
    let pairs: Vec<_> = deliveries.iter().map(|delivery| (delivery.account.as_str(), &delivery.payload[..])).collect();
    assert_eq!(pairs, [("a", &b"1"[..]), ("b", b"2"), ("a", b"3")]);

    assert_eq!(reason(".[].n", ".[:2][].to", body), "bucket `.[:2][].to` gave 2 accounts for 3 payloads");
    assert_eq!(reason(".[0].n", ".[].to", body), "bucket `.[].to` gave 3 accounts for 1 payloads");
}

#[test]
fn what_else_is_known_of_a_message_is_in_a_variable() {
    let attribute = |name: &str, value| Attribute::new(name.into(), value);
    let message = Message {
        attributes: vec![
            attribute("traceparent", AttributeValue::String("00-ab".into())),
            attribute("weight", AttributeValue::Number("1.50".into())),
            attribute("odd", AttributeValue::Number("0x1".into())),
            attribute("raw", AttributeValue::Binary(Bytes::from_static(b"\xff\x00"))),
        ],
        group: Some("g".into()),
        sent_at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
        receives: 3,
        ..message("{}")
    };
    let handler = compile("$message | .attributes.raw |= @base64", "$message.group").unwrap();
    let expected = concat!(
        r#"{"id":"m1","sent_at":1700000000.25,"receives":3,"group":"g","#,
        r#""attributes":{"traceparent":"00-ab","weight":1.50,"odd":"0x1","raw":"/wA="}}"#
    );
    assert_eq!(handler.handle(&message), Outcome::deliver("g", expected));
    let date = compile("$message.sent_at | floor | todate", "$message.id").unwrap();
    assert_eq!(date.handle(&message), Outcome::deliver("m1", "\"2023-11-14T22:13:20Z\""));
    assert_eq!(reason("1", "$message.group", "{}"), "bucket `$message.group` is null or missing");
}

#[test]
fn a_body_that_is_not_json_is_rejected() {
    for (body, expected) in [
        ("", "the body is not JSON: the text ends too early at line 1 column 1"),
        ("{\"a\":1", "the body is not JSON: the text ends too early at line 1 column 7, field `a`"),
        ("NaN", "the body is not JSON: a value was expected at line 1 column 1"),
        ("1 # one", "the body is not JSON: something follows the value at line 1 column 3"),
        ("b\"x\"", "the body is not JSON: a value was expected at line 1 column 1"),
        ("\"\\ud800\"", "the body is not JSON: byte offset "),
    ] {
        let refused = reason(".", "\"a\"", body);
        assert!(refused.starts_with(expected), "{body}: {refused}");
    }
    let refused = reason(".", "\"a\"", Bytes::from_static(b"\"\xff\""));
    assert_eq!(refused, "the body is not JSON: invalid UTF-8 at line 1 column 2");
}

#[test]
fn depth_never_reaches_the_stack() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let refused = reason(".", "\"a\"", deep.clone());
    assert_eq!(refused, "the body nests too deep: more than 128 levels of arrays and objects at line 1 column 129");

    // Nor does a text in a body that a program reads as JSON.
    let text = serde_json::to_string(&deep).unwrap();
    for program in ["fromjson", "tonumber", "toboolean"] {
        let refused = reason(program, "\"a\"", text.clone());
        assert_eq!(refused, "fromjson: more than 128 levels of arrays and objects at line 1 column 129");
    }
    assert_eq!(payloads(".[] | fromjson", r#"["{\"a\":[1.0]}"," 7 "]"#), [r#"{"a":[1.0]}"#, "7"]);
    assert_eq!(payloads(".[] | tonumber", r#"["1.50",2]"#), ["1.50", "2"]);

    // Nor does a value that a program builds.
    let refused = reason("reduce range(300000) as $i (null; [.])", "\"a\"", "1");
    assert_eq!(refused, "jq result 1: more than 128 levels of arrays and objects");
    let refused = reason("error(reduce range(300000) as $i (null; {a: .}))", "\"a\"", "1");
    assert_eq!(refused, "an error whose value cannot be shown: more than 128 levels of arrays and objects");
}

#[test]
fn a_body_as_deep_as_may_be_stands_every_filter() {
    let body = "[".repeat(json::MAX_DEPTH) + &"]".repeat(json::MAX_DEPTH);
    assert_eq!(payloads(".", body.clone()), std::slice::from_ref(&body));
    for (program, expected) in [
        ("walk(.) == .", "true"),
        ("[..] | length", "128"),
        ("[paths] | length", "127"),
        ("tojson | fromjson == $__body", "true"),
        ("[., .] | unique | length", "1"),
        ("flatten", "[]"),
        ("tostring | length", "256"),
        ("contains(.)", "true"),
    ] {
        assert_eq!(payloads(&format!(". as $__body | {program}"), body.clone()), [expected], "{program}");
    }
}

#[test]
fn numbers_too_long_to_read_quickly_are_not_read() {
    let number = "7".repeat(1_000_000);
    let refused = reason(".", "\"a\"", format!("{{\"n\":{number}}}"));
    assert_eq!(refused, "the body cannot be read: a number of more than 1000 characters at line 1 column 6, field `n`");
    let refused = reason(".n | tonumber", "\"a\"", format!("{{\"n\":\"{number}\"}}"));
    assert_eq!(refused, "fromjson: a number of more than 1000 characters at line 1 column 1");
}

#[test]
fn results_are_bounded_in_number_and_size() {
    assert_eq!(payloads("range(1000)", "1").len(), MAX_DELIVERIES);
    assert_eq!(reason("range(1001)", "\"a\"", "1"), "jq gave more than 1000 results");
    assert_eq!(reason("repeat(1)", "\"a\"", "1"), "jq gave more than 1000 results");
    assert_eq!(reason("1", "repeat(\"a\")", "1"), "bucket `repeat(\"a\")` gave 1000 accounts for 1 payloads");
    assert_eq!(reason("\"x\" * 17000000", "\"a\"", "1"), "jq result 1: more than 16 MiB of payload");
    assert_eq!(reason("\"x\" * 6000000 | ., ., .", "\"a\"", "1"), "jq result 3: more than 16 MiB of payload");
    assert_eq!(payloads("\"x\" * 6000000 | ., .", "1").len(), 2);
}

#[test]
fn what_json_cannot_say_is_rejected_with_the_result() {
    assert_eq!(reason("1, nan", "\"a\"", "1"), "jq result 2: NaN is not a number that JSON knows");
    assert_eq!(reason("[infinite]", "\"a\"", "1"), "jq result 1: inf is not a number that JSON knows");
    assert_eq!(
        reason("{(1|tostring): 1, a: (\"x\"|tobytes)}", "\"a\"", "1"),
        "jq result 1: a byte string is no JSON, make text of it with `@base64`"
    );
    assert_eq!(reason("{(.): 1}", "\"a\"", "1"), "jq result 1: the name of a field is not a string");
}

#[test]
fn a_pipeline_reaches_nothing_outside() {
    for (program, name) in [
        ("env", "env"),
        ("env.PATH", "env"),
        ("input", "input"),
        ("[inputs]", "inputs"),
        ("debug", "debug"),
        ("debug(\"x\")", "debug"),
        ("stderr", "stderr"),
        ("halt", "halt"),
        ("halt(1)", "halt"),
        ("halt_error", "halt_error"),
        ("\"x\" | halt_error(1)", "halt_error"),
        ("debug_empty", "debug_empty"),
        ("stderr_empty", "stderr_empty"),
    ] {
        let error = Program::compile(program).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("`{name}` is left out: a pipeline has no input, output, environment or exit")),
            "{program}: {error}"
        );
    }
    assert_eq!(
        Program::compile("1 | $ENV.PATH").unwrap_err().to_string(),
        "`$ENV` is left out: a pipeline has no environment at line 1 column 5"
    );
    assert_eq!(
        Program::compile("env | input | debug").unwrap_err().to_string(),
        "`env` is left out: a pipeline has no input, output, environment or exit of its own at line 1 column 1; \
         `input` is left out at line 1 column 7; `debug` is left out at line 1 column 15",
        "the reason is said once"
    );
    for program in ["include \"a\"; 1", "import \"a\" as a; a::b", "import \"a\" as $a; $a"] {
        let error = Program::compile(program).unwrap_err().to_string();
        assert!(error.starts_with("modules and data files cannot be imported at line 1 column "), "{program}: {error}");
    }
}

#[test]
fn a_program_that_does_not_compile_says_what_and_where() {
    for (program, expected) in [
        ("", "expected term, found the end at line 1 column 1"),
        ("{sku: .sku", "expected closing brace, found the end at line 1 column 11"),
        (".a |\n  (.b | )", "expected term, found `)` at line 2 column 9"),
        (".a |\n  .b ! 1", "expected the end, found `!` at line 2 column 6"),
        ("§ + 1", "expected token, found `§ + 1` at line 1 column 1"),
        ("\"é\" | nope", "`nope` is not defined at line 1 column 7"),
        ("nope(1; 2)", "`nope/2` is not defined at line 1 column 1"),
        (". as $x | $y", "variable `$y` is not defined at line 1 column 11"),
        ("$x, $y", "variable `$x` is not defined at line 1 column 1; variable `$y` is not defined at line 1 column 5"),
        ("break $out", "label `$out` is not defined at line 1 column 7"),
        ("\"\\x\"", "expected string escape sequence, found `x\"` at line 1 column 3"),
    ] {
        assert_eq!(Program::compile(program).unwrap_err().to_string(), expected, "{program}");
    }
    assert!(Program::compile(".a").is_ok());
}

#[test]
fn groups_are_read_off_the_body() {
    let group = group_path(".account").unwrap();
    assert_eq!(group(br#"{"account":"a"}"#).as_deref(), Some("a"));
    assert_eq!(group(br#"{"account":7}"#).as_deref(), Some("7"));
    for alone in
        ["{}", r#"{"account":null}"#, r#"{"account":""}"#, r#"{"account":1.5}"#, r#"{"account":[1]}"#, "[]", "no json", ""]
    {
        assert_eq!(group(alone.as_bytes()), None, "{alone}");
    }
    assert_eq!(group_path("empty").unwrap()(b"{}"), None);
    assert_eq!(group_path(".a |").err().unwrap().to_string(), "expected term, found the end at line 1 column 5");
}

/// A group is read by whoever sends: the stack of a test's thread is that of most threads.
#[test]
fn a_group_is_read_on_a_thread_of_any_kind() {
    let programs = |count: usize| {
        let chains = [".a // ", "-", ".a + ", ".a | "].map(|part| part.repeat(count) + ".a");
        chains.into_iter().chain([".a".repeat(2 * count), format!("\"{}\"", "\\n".repeat(count))])
    };
    let body = format!(r#"{{"a":null,"b":{}1{}}}"#, "[".repeat(120), "]".repeat(120));
    for program in programs(100) {
        let group = group_path(&program).unwrap();
        assert!(group(body.as_bytes()).is_none_or(|group| group.len() == 100), "{program:.20}");
    }
    for program in programs(2000) {
        let Err(error) = group_path(&program).map(|group| group(body.as_bytes())) else { panic!("{program:.20}") };
        assert!(error.to_string().starts_with("more than "), "{error}");
    }
}

#[test]
fn of_two_fields_of_one_name_the_last_counts() {
    assert_eq!(payloads(".", r#"{"a":1,"b":2,"a":3}"#), [r#"{"a":3,"b":2}"#]);
}

/// Values as a producer may send them, nested a little.
fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn what_is_passed_on_is_not_changed() {
    let handler = compile(".", "\"a\"").unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) };
    proptest!(config, |(value in value())| {
        let body = value.to_string();
        prop_assert_eq!(handler.handle(&message(body.clone())), Outcome::deliver("a", body));
    });
}

#[test]
fn many_threads_run_one_program() {
    let handler = compile("{n: .n, half: (.n / 2)}", ".account").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let handler = &handler;
            scope.spawn(move || {
                for n in 0..200 {
                    let outcome = handler.handle(&message(format!("{{\"account\":\"{thread}\",\"n\":{n}}}")));
                    let half = f64::from(n) / 2.0;
                    assert_eq!(outcome, Outcome::deliver(thread.to_string(), format!("{{\"n\":{n},\"half\":{half:?}}}")));
                }
            });
        }
    });
}
