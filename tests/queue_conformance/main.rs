//! What every queue must do, run against every implementation.
//!
//! A case is a function that takes a [`driver::Driver`]. A new implementation needs one more driver and one more line
//! below. Cases use whole seconds and at most ten messages per receive, which every queue service supports.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "cases are functions outside #[test]: clippy does not see that they are tests"
)]

mod alike;
mod bodies;
mod dead;
mod driver;
mod embedded;
mod groups;
mod many;
mod on_sqs;
mod receive;
mod settle;
#[path = "../support/mod.rs"]
mod support;
mod tools;
mod waiting;

use driver::{Memory, Sqlite};
use on_sqs::Sqs;

/// Defines one test per case and driver, so that a failure names both.
macro_rules! run {
    ($driver:ident as $name:ident: $($module:ident { $($case:ident)+ })+) => {
        mod $name {
            $(mod $module {
                use crate::$driver;

                $(#[test] fn $case() { crate::$module::$case(&$driver::default()); })+
            })+
        }
    };
}

/// The cases that hold for every queue.
macro_rules! conformance {
    ($driver:ident as $name:ident) => {
        run! { $driver as $name:
            receive {
                messages_come_in_the_order_sent
                an_empty_queue_gives_nothing
                no_more_is_given_than_asked
                a_message_says_what_is_known_of_it
                a_leased_message_is_hidden_until_its_lease_ends
                a_lapsed_message_keeps_its_place
                a_delayed_message_comes_after_its_delay
                every_state_is_counted
            }
            settle {
                a_deleted_message_never_comes_back
                an_extended_lease_ends_later
                a_shortened_lease_ends_earlier
                a_message_returned_with_zero_comes_back_at_once
                a_message_returned_with_a_delay_comes_back_after_it
                a_returned_message_can_be_shown_early
                an_old_receipt_is_gone_and_touches_nothing
                each_entry_has_its_own_result
                what_is_settled_is_said_with_every_later_copy
                a_letter_about_one_delivery_settles_it
                what_is_settled_of_a_message_survives_its_letter_and_redrive
                an_old_receipt_settles_nothing
            }
            dead {
                a_whole_message_is_set_aside
                one_delivery_is_set_aside_and_its_message_stays
                a_letter_about_a_parked_delivery_is_written
                the_last_letter_takes_the_message_along
                a_whole_message_is_redriven
                one_delivery_is_redriven_as_the_only_one_open
                open_deliveries_survive_any_number_of_redrives
                purged_letters_are_gone
                letters_are_listed_by_partner_and_reason
                a_listing_ends_when_told
            }
            groups {
                a_group_comes_in_order
                a_locked_group_gives_nothing
                a_group_is_free_once_the_last_lease_is_settled
                a_lapsed_group_starts_over_in_order
                a_returned_message_locks_its_group
                groups_do_not_wait_for_each_other
                a_message_without_group_waits_for_none
                the_oldest_come_first_over_all_groups
                a_dead_letter_frees_its_group
                a_redriven_message_joins_its_group_at_the_end
                a_redriven_message_comes_although_nothing_else_is_in_its_group
            }
            bodies {
                attributes_of_all_types_come_back
            }
            many {
                two_consumers_share_without_overlap
                sequences_are_gapless_over_threads
            }
            waiting {
                a_wait_ends_with_a_send
                a_wait_ends_with_a_return
                a_wait_ends_with_a_lapse
                a_wait_ends_with_a_delay
                a_wait_ends_when_a_group_is_freed
                a_wait_runs_out
            }
        }
    };
}

conformance!(Memory as memory);
conformance!(Sqlite as sqlite);
conformance!(Sqs as sqs);

/// The cases that hold for embedded queues only, because SQS does not support them, or not as reliably.
macro_rules! embedded {
    ($driver:ident as $name:ident) => {
        run! { $driver as $name:
            embedded {
                a_receipt_ends_with_its_lease
                the_same_receipt_twice_is_gone_the_second_time
                receipts_of_others_are_gone
                too_much_in_one_call_is_refused_whole
                an_interrupt_ends_waits_for_good
                a_redriven_message_has_an_id_of_its_own
                a_letter_says_how_often_it_was_redriven
                five_hundred_come_at_once
                a_locked_group_with_a_long_tail_is_not_in_the_way
                a_receive_that_does_not_count_is_not_reported_and_ends_its_receipt
            }
            receive {
                a_delayed_message_of_a_fifo_queue_too
                every_state_of_a_fifo_queue_is_counted
            }
            dead {
                the_same_delivery_twice_is_one_letter
                a_letter_written_after_a_purge_has_a_number_of_its_own
                the_same_place_for_two_accounts_is_two_letters
                an_old_receipt_writes_nothing
                thousands_of_letters_are_redriven_and_purged
            }
            groups {
                a_delayed_message_holds_back_those_behind_it
            }
            bodies {
                bodies_come_back_to_the_byte
                attributes_come_back_in_their_order
            }
            many {
                sequences_follow_the_order_of_taking_over_threads
            }
            waiting {
                a_wait_on_a_fifo_queue_ends_with_a_delay
            }
        }
    };
}

embedded!(Memory as memory_embedded);
embedded!(Sqlite as sqlite_embedded);

run! { Sqs as sqs_alone:
    on_sqs {
        text_comes_back_to_the_byte
        batches_that_sqs_would_refuse_are_refused_whole
        letters_stay_where_they_are_however_often_they_are_looked_at
        a_queue_that_does_not_exist_is_missing_until_it_does
        the_redrive_policy_is_read_and_its_target_used
    }
}
