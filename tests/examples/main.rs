//! The examples of the documentation run to their end, without an error.

mod custom_handler;
mod embedded;

#[test]
fn the_custom_handler_runs() {
    custom_handler::main().unwrap();
}

#[test]
fn the_embedded_service_empties_its_queue_and_ends() {
    embedded::main().unwrap();
}
