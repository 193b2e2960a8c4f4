//! Scenario: the service's environment contains secrets, and a pipeline tries to read them.

use octoconf::handler::Handler;
use octoconf::handler::jq::{self, Program};
use octoconf::message::{Message, Outcome};

/// A variable that cargo sets for every test, and that is therefore always there.
const VARIABLE: &str = "CARGO_MANIFEST_DIR";

#[test]
fn no_program_sees_the_environment() {
    assert!(std::env::var(VARIABLE).is_ok());
    for program in [
        "env",
        "env.CARGO_MANIFEST_DIR",
        "$ENV.CARGO_MANIFEST_DIR",
        "$ENV",
        "$__prog_args",
        "input_filename",
        "getpath([\"env\"]) | env",
    ] {
        let error = Program::compile(program).unwrap_err().to_string();
        assert!(error.contains("is left out") || error.contains("is not defined"), "{program}: {error}");
    }
    let everything = jq::compile("[., $message]", "\"a\"").unwrap();
    let message = Message::new("1", "{}");
    let Outcome::Deliver(deliveries) = everything.handle(&message) else { panic!("not delivered") };
    let payload = std::str::from_utf8(&deliveries[0].payload).unwrap();
    assert!(!payload.contains(env!("CARGO_MANIFEST_DIR")), "{payload}");
}
