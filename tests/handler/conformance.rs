//! What every handler must do, whether in code or a pipeline: return an outcome that keeps to the rules, and the same
//! outcome each time and on every thread, whatever the body is.

use std::sync::Arc;

use octoconf::handler::{Handler, MAX_REASON, Registry, jq, run_caught};
use octoconf::message::{MAX_DELIVERIES, Message, Outcome};

/// Every handler that comes with octoconf, pipelines of several shapes, and a handler in code that trusts its input.
fn registry() -> Registry {
    let mut registry = Registry::new();
    for (name, program, bucket) in [
        ("echo", ".", ".account"),
        ("lines", ".lines[]", ".lines[].account"),
        ("greedy", "repeat(.)", ".account"),
        ("total", "{total: (.quantity * .unit_price)}", ".account"),
    ] {
        registry.register(name, jq::compile(program, bucket).unwrap());
    }
    registry.register("trusting", |message: &Message| {
        let first = message.body.iter().position(|&byte| byte == b'"').map(|at| message.body.slice(at..at + 20));
        Outcome::deliver("", first.unwrap_or_default())
    });
    registry
}

fn bodies() -> Vec<Vec<u8>> {
    let good = br#"{"account":"a","invoice":"1","issued_at":"t","country":"c","sku":"s","name":"n","quantity":1,"unit_price":2.5,"lines":[{"account":"b"}]}"#;
    let mut bodies: Vec<Vec<u8>> = vec![
        good.to_vec(),
        Vec::new(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"\"\xff\xfe\"".to_vec(),
        vec![0; 1000],
        vec![b'7'; 1024 * 1024],
        [b"{\"account\":\"".as_slice(), &vec![b'x'; 1024 * 1024 - 14], b"\"}"].concat(),
        br#"{"account":"../../x\u0000\n","invoice":"\ud83d\ude00","issued_at":"","country":"","quantity":-1,"unit_price":-0.0}"#
            .to_vec(),
        br#"{"lines":[{"account":"a"},{"account":null},{}]}"#.to_vec(),
    ];
    for opener in ["[", "{\"a\":"] {
        let closer = if opener == "[" { "]" } else { "}" };
        bodies.push((opener.repeat(100_000) + "1" + &closer.repeat(100_000)).into_bytes());
        bodies.push(opener.repeat(150_000).into_bytes());
    }
    // The valid body, truncated at every length.
    bodies.extend((1..good.len()).filter_map(|end| good.get(..end)).map(<[u8]>::to_vec));
    bodies
}

fn message(body: &[u8]) -> Message {
    Message::new("1", body.to_vec())
}

#[test]
fn any_body_ends_in_an_outcome_that_holds_to_the_rules() {
    let registry = registry();
    assert_eq!(registry.names().collect::<Vec<_>>(), ["echo", "greedy", "lines", "order", "product", "total", "trusting"]);
    for name in registry.names() {
        let handler = registry.get(name).unwrap();
        for body in bodies() {
            let outcome = run_caught(&*handler, &message(&body));
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
            match &outcome {
                Outcome::Deliver(deliveries) => {
                    assert!((1..=MAX_DELIVERIES).contains(&deliveries.len()), "{name}: {shown}");
                    assert!(deliveries.iter().all(|delivery| !delivery.account.is_empty()), "{name}: {shown}");
                }
                Outcome::Reject { reason } => assert!((1..=MAX_REASON).contains(&reason.len()), "{name}: {shown}: {reason}"),
                other => panic!("{name}: {shown}: {other:?}"),
            }
            assert_eq!(run_caught(&*handler, &message(&body)), outcome, "{name}: {shown}");
        }
    }
}

#[test]
fn many_threads_share_a_handler() {
    let registry = registry();
    let body = &bodies()[0];
    for name in ["echo", "lines", "order", "product", "total"] {
        let handler: Arc<dyn Handler> = registry.get(name).unwrap();
        let alone = run_caught(&*handler, &message(body));
        assert_eq!(alone.word(), "deliver", "{name}: {alone:?}");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(run_caught(&*handler, &message(body)), alone, "{name}");
                    }
                });
            }
        });
    }
}
