//! What every sink must do, run against every implementation.
//!
//! A case is a function that takes a [`driver::Driver`]. A new implementation needs one more
//! driver and one more line below.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "cases are functions outside #[test]: clippy does not see that they are tests"
)]

mod cases;
mod driver;
#[path = "../support/mod.rs"]
mod support;

use driver::{Discard, File, Http, Output, SqsFifo, SqsStandard};

/// Defines one test per case and driver, so that a failure names both.
macro_rules! run {
    ($driver:ident as $name:ident: $($case:ident)+) => {
        mod $name {
            use crate::$driver;

            $(#[test] fn $case() { crate::cases::$case(&$driver::default()); })+
        }
    };
}

/// The cases that hold for every sink.
macro_rules! conformance {
    ($driver:ident as $name:ident) => {
        run! { $driver as $name:
            accepted_batches_have_arrived_whole_and_in_order
            payloads_arrive_to_the_byte
            many_threads_deliver_at_once
        }
    };
}

conformance!(Http as http);
conformance!(File as file);
conformance!(SqsStandard as sqs_standard);
conformance!(SqsFifo as sqs_fifo);
conformance!(Output as stdout);
conformance!(Discard as discard);

/// Sinks whose other side may be away: all except the one that keeps nothing.
mod away {
    run! { Http as http: an_absent_side_accepts_nothing }
    run! { File as file: an_absent_side_accepts_nothing }
    run! { SqsStandard as sqs_standard: an_absent_side_accepts_nothing }
    run! { SqsFifo as sqs_fifo: an_absent_side_accepts_nothing }
    run! { Output as stdout: an_absent_side_accepts_nothing }
}

/// Sinks with a place of its own for each account.
mod apart {
    run! { Http as http: no_two_accounts_share_a_place }
    run! { File as file: no_two_accounts_share_a_place }
    run! { SqsFifo as sqs_fifo: no_two_accounts_share_a_place }
}
