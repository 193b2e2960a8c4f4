//! Golden payloads, every way to be rejected, and a comparison of the fast path with a slow and simple one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::handler::Handler;
use crate::message::{Message, Outcome};

fn handle(handler: &dyn Handler, body: impl Into<Bytes>) -> Outcome {
    handler.handle(&Message::new("1", body))
}

fn reason(handler: &dyn Handler, body: impl Into<Bytes>) -> String {
    match handle(handler, body) {
        Outcome::Reject { reason } => reason,
        other => panic!("not rejected: {other:?}"),
    }
}

const ORDER: &str = r#"{"account":"17850","invoice":"536365","issued_at":"12/1/2010 8:26","country":"United Kingdom","quantity":40,"unit_price":3.91}"#;
const PRODUCT: &str = r#"{"account":"17850","sku":"85123A","name":"T-light holder","quantity":6,"unit_price":2.55}"#;

#[test]
fn an_order_is_issued() {
    let payload = r#"{"type":"invoice.issued","invoice":"536365","issued_at":"12/1/2010 8:26","country":"United Kingdom","quantity":40,"total":156.4}"#;
    assert_eq!(handle(&Order, ORDER), Outcome::deliver("17850", payload));
}

#[test]
fn an_order_is_cancelled_by_its_number() {
    let body =
        r#"{"quantity":-3,"unit_price":2,"invoice":"C7","country":"Österreich \"A\"","issued_at":"\u0041","account":" x/../y "}"#;
    let payload =
        r#"{"type":"invoice.cancelled","invoice":"C7","issued_at":"A","country":"Österreich \"A\"","quantity":-3,"total":-6.0}"#;
    assert_eq!(handle(&Order, body), Outcome::deliver(" x/../y ", payload));
    let Outcome::Deliver(deliveries) = handle(&Order, body.replace("C7", "c7")) else { panic!("not delivered") };
    assert!(deliveries[0].payload.starts_with(br#"{"type":"invoice.issued""#));
}

#[test]
fn a_stock_level_is_updated() {
    let payload = r#"{"type":"stock.updated","sku":"85123A","name":"T-light holder","quantity":6,"unit_price":2.55}"#;
    assert_eq!(handle(&Product, PRODUCT), Outcome::deliver("17850", payload));
    let payload = r#"{"type":"stock.updated","sku":"85123A","name":"T-light holder","quantity":-6,"unit_price":3}"#;
    assert_eq!(handle(&Product, PRODUCT.replace("2.55", "3").replace('6', "-6")), Outcome::deliver("17850", payload));
}

#[test]
fn totals_are_rounded_to_cents_half_away_from_zero() {
    for (quantity, price, total) in [
        ("3", "0.335", "1.01"),
        ("1", "0.125", "0.13"),
        ("-1", "0.125", "-0.13"),
        ("83", "4.8533", "402.82"),
        ("0", "9.99", "0.0"),
        ("0", "-9.99", "-0.0"),
        ("1", "1e-9", "0.0"),
        ("9223372036854775807", "1", "9.223372036854776e+18"),
        ("1", "156", "156.0"),
    ] {
        let body = ORDER.replace(":40", &format!(":{quantity}")).replace("3.91", price);
        let Outcome::Deliver(deliveries) = handle(&Order, body) else { panic!("{quantity} × {price} is not delivered") };
        let payload = std::str::from_utf8(&deliveries[0].payload).unwrap();
        assert!(payload.ends_with(&format!("\"quantity\":{quantity},\"total\":{total}}}")), "{payload}");
    }
}

#[test]
fn what_is_not_read_is_ignored() {
    let more = r#"{"note":{"a":[null,1e400,"\ud800"]},"total":"x","#;
    assert_eq!(handle(&Order, ORDER.replacen('{', more, 1)), handle(&Order, ORDER));
    assert_eq!(handle(&Order, format!("\r\n\t {ORDER} \n")), handle(&Order, ORDER));
}

#[test]
fn a_field_that_is_missing_null_or_of_a_wrong_type_is_named() {
    let samples: [(&str, Value); 6] = [
        ("null", Value::Null),
        ("boolean `true`", json!(true)),
        ("sequence", json!([1])),
        ("map", json!({"a": 1})),
        ("integer `7`", json!(7)),
        ("string \"7\"", json!("7")),
    ];
    for (handler, body) in [(&Order as &dyn Handler, ORDER), (&Product, PRODUCT)] {
        let good: serde_json::Map<String, Value> = serde_json::from_str(body).unwrap();
        for (name, value) in &good {
            let mut without = good.clone();
            without.remove(name);
            let missing = reason(handler, serde_json::to_vec(&without).unwrap());
            assert!(missing.starts_with(&format!("missing field `{name}` at line 1 column ")), "{missing}");

            for (shown, sample) in &samples {
                if (value.is_string() && sample.is_string()) || (value.is_number() && sample.is_number()) {
                    continue;
                }
                let mut wrong = good.clone();
                wrong.insert(name.clone(), sample.clone());
                let refused = reason(handler, serde_json::to_vec(&wrong).unwrap());
                assert!(refused.starts_with(&format!("field `{name}`: invalid type: {shown}, expected ")), "{refused}");
                assert!(refused.contains(" at line 1 column "), "{refused}");
            }
        }
    }
}

#[test]
fn other_bodies_are_rejected_with_what_is_wrong() {
    let account = |value: &str| ORDER.replace("\"17850\"", value);
    let quantity = |value: &str| ORDER.replace(":40", &format!(":{value}"));
    let price = |value: &str| ORDER.replace("3.91", value);
    for (body, expected) in [
        (account("\"\""), "field `account` is empty"),
        (quantity("1.5"), "field `quantity`: invalid type: floating point `1.5`, expected i64 at line 1 column 108"),
        (quantity("1e2"), "field `quantity`: invalid type: floating point `100.0`, expected i64"),
        (quantity("9223372036854775808"), "field `quantity`: invalid value: integer `9223372036854775808`, expected i64"),
        (price("1e400"), "field `unit_price`: number out of range"),
        (price("1e308"), "the total of field `quantity` 40 times field `unit_price` 1"),
        (account("\"\\ud800\""), "field `account`: "),
        (ORDER.replacen('{', "{\"account\":\"1\",", 1), "duplicate field `account` at line 1 column 24"),
        (String::new(), "the body is not JSON: the text ends too early at line 1 column 1"),
        ("{".into(), "the body is not JSON: the text ends too early at line 1 column 2"),
        ("hello".into(), "the body is not JSON: a value was expected at line 1 column 1"),
        (format!("{ORDER} x"), "the body is not JSON: something follows the value at line 1 column 128, field `unit_price`"),
        (quantity("4x"), "the body is not JSON: `,` or `}` was expected at line 1 column 107, field `quantity`"),
        (quantity("NaN"), "the body is not JSON: a value was expected at line 1 column 106, field `quantity`"),
        ("null".into(), "the body is not a JSON object"),
        ("[\"a\",\"i\",\"d\",\"c\",1,2]".into(), "the body is not a JSON object"),
        ("\"x\"".into(), "the body is not a JSON object"),
    ] {
        let refused = reason(&Order, body.clone());
        assert!(refused.starts_with(expected), "{body}: {refused}");
    }
    let bytes = [br#"{"account":"1","note":""#.as_slice(), b"\xff\"}"].concat();
    assert_eq!(reason(&Order, bytes), "the body is not JSON: invalid UTF-8 at line 1 column 24");
}

#[test]
fn a_body_that_nests_too_deep_is_rejected_wherever_it_does() {
    for depth in [129, 100_000] {
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        for (body, field) in [
            (ORDER.replacen('{', &format!("{{\"note\":{deep},"), 1), ", field `note`"),
            (ORDER.replace("\"17850\"", &deep), ", field `account`"),
            (ORDER.replace(":40", &format!(":{deep}")), ", field `quantity`"),
            (deep.clone(), ""),
        ] {
            let refused = reason(&Order, body);
            assert!(
                refused.starts_with("the body nests too deep: more than 128 levels of arrays and objects at line 1"),
                "{refused}"
            );
            assert!(refused.ends_with(field), "{refused}");
        }
        assert!(reason(&Order, "{\"a\":".repeat(depth)).starts_with("the body nests too deep"));
    }
    let shallow = "[".repeat(127) + &"]".repeat(127);
    assert_eq!(handle(&Order, ORDER.replacen('{', &format!("{{\"note\":{shallow},"), 1)), handle(&Order, ORDER));
}

/// Returns what `order` must make of a body; written for clarity and not for speed.
fn plain_order(body: &Value) -> Option<Outcome> {
    let text = |name: &str| body[name].as_str();
    let (account, invoice, issued_at, country) = (text("account")?, text("invoice")?, text("issued_at")?, text("country")?);
    let (quantity, price) = (body["quantity"].as_i64()?, body["unit_price"].as_f64()?);
    let total = (quantity as f64 * price * 100.0).round() / 100.0;
    let kind = if invoice.starts_with('C') { "invoice.cancelled" } else { "invoice.issued" };
    let payload = format!(
        r#"{{"type":"{kind}","invoice":{},"issued_at":{},"country":{},"quantity":{quantity},"total":{}}}"#,
        Value::from(invoice),
        Value::from(issued_at),
        Value::from(country),
        serde_json::to_string(&total).unwrap()
    );
    (!account.is_empty() && total.is_finite()).then(|| Outcome::deliver(account, payload))
}

/// Values of every type, mostly of those that an order may have.
fn field_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any::<String>().prop_map(Value::from),
        1 => "C[0-9]{6}".prop_map(Value::from),
        4 => any::<i32>().prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        4 => any::<f64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::from),
    ]
}

/// Bodies with all fields, most of them of the right type, or with one field left out, and
/// with one field that is not read.
fn body() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![20 => any::<String>().prop_map(Value::from), 1 => field_value()];
    let quantity = prop_oneof![20 => any::<i64>().prop_map(Value::from), 1 => field_value()];
    let price =
        prop_oneof![20 => any::<f64>().prop_map(Value::from), 10 => (-1e6..1e6).prop_map(Value::from), 1 => field_value()];
    let lost = prop_oneof![9 => Just(""), 1 => prop::sample::select(vec!["account", "invoice", "issued_at", "country", "quantity", "unit_price"])];
    (text(), prop_oneof![text(), "C.*".prop_map(Value::from)], text(), text(), quantity, price, field_value(), lost).prop_map(
        |(account, invoice, issued_at, country, quantity, unit_price, note, lost)| {
            let mut body = json!({
                "account": account, "invoice": invoice, "issued_at": issued_at, "country": country,
                "quantity": quantity, "unit_price": unit_price, "note": note,
            });
            body.as_object_mut().unwrap().remove(lost);
            body
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2048) })]

    #[test]
    fn the_fast_path_says_what_the_plain_one_says(body in body()) {
        let fast = handle(&Order, serde_json::to_vec(&body).unwrap());
        match plain_order(&body) {
            Some(plain) => prop_assert_eq!(fast, plain),
            None => prop_assert_eq!(fast.word(), "reject"),
        }
    }

    #[test]
    fn any_bytes_end_in_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(handle(&Order, bytes).word(), "reject");
    }
}
