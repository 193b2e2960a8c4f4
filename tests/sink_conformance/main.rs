//! What every sink must do, run against every implementation.
//!
//! A case is a function that takes a [`driver::Driver`]. A new implementation is one more driver and one more line below.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "cases are functions outside #[test]: clippy does not see that they are tests"
)]

mod cases;
mod driver;
#[path = "../support/partner.rs"]
mod partner;
#[path = "../support/proxy/mod.rs"]
mod proxy;
#[path = "../support/sqs_server.rs"]
mod sqs_server;

use driver::{Discard, File, Http, Output, SqsFifo, SqsStandard};

/// One test for each case and driver, so that a failure names both.
macro_rules! run {
    ($driver:ident as $name:ident: $($case:ident)+) => {
        mod $name {
            use crate::$driver;

            $(#[test] fn $case() { crate::cases::$case(&$driver::default()); })+
        }
    };
}

/// What every sink does.
macro_rules! conformance {
    ($driver:ident as $name:ident) => {
        run! { $driver as $name:
            what_is_accepted_has_arrived_whole_and_in_order
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

/// What may be away, as all may but the one that keeps nothing.
mod away {
    run! { Http as http: nothing_is_accepted_by_who_is_away }
    run! { File as file: nothing_is_accepted_by_who_is_away }
    run! { SqsStandard as sqs_standard: nothing_is_accepted_by_who_is_away }
    run! { SqsFifo as sqs_fifo: nothing_is_accepted_by_who_is_away }
    run! { Output as stdout: nothing_is_accepted_by_who_is_away }
}

/// Where each account has a place of its own.
mod apart {
    run! { Http as http: no_two_accounts_share_a_place }
    run! { File as file: no_two_accounts_share_a_place }
    run! { SqsFifo as sqs_fifo: no_two_accounts_share_a_place }
}
