//! Conformance: the promises that every engine keeps, as one suite.
//!
//! An engine runs it with [`store_conformance!`](crate::store_conformance) and a function that gives an
//! [`Engine`]. Every promise ends by comparing what can be read with what a clone of the store, reopened
//! after a crash and again after a clean close, can read; engines that are not durable leave that out.
#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a suite of tests: a broken promise is told by a panic"
)]

mod along;
mod finding;
mod keeping;
mod kit;
mod publishing;
mod repairing;
mod replaying;
mod settling;
mod timing;
mod undoing;

use super::{Store, StoreSettings};

pub use along::*;
pub use finding::*;
pub use keeping::*;
#[cfg(test)]
pub(super) use kit::check_at_hand;
pub use kit::{World, dead, envelope, ordinals, retry, routed, settle, snapshot};
pub use publishing::*;
pub use repairing::*;
pub use replaying::*;
pub use settling::*;
pub use timing::*;
pub use undoing::*;

/// Opens stores over one place: a durable engine finds again what it kept there.
pub trait Engine {
    /// Opens the store; the engine adds its own path to the settings.
    fn open(&mut self, settings: &StoreSettings) -> Box<dyn Store>;
}

/// Makes one test of every promise: `store_conformance!(engine)`, where `engine()` gives an
/// [`Engine`] with a place of its own.
#[macro_export]
macro_rules! store_conformance {
    ($engine:path) => {
        $crate::store_conformance!(@tests $engine:
            an_event_is_stored_and_enters_every_queue_it_is_routed_to
            numbers_have_no_gaps
            a_repeat_is_answered_as_the_first_time
            a_repeat_inside_one_batch_is_stored_once
            what_is_new_of_an_event_is_known_from_then_on
            another_body_under_a_known_id_is_refused_and_leaves_no_trace
            an_event_that_nobody_hears_is_at_rest_at_once
            a_route_to_nobody_is_left_out
            a_delayed_event_enters_its_queues_when_it_is_released
            a_released_event_is_not_released_twice
            readers_see_what_is_staged_and_know_what_is_durable
            a_long_queue_reads_in_order_page_by_page
            a_read_of_a_queue_stops_at_a_mebibyte
            a_settled_delivery_leaves_the_queue_and_its_flow_comes_to_rest
            an_attempt_keeps_the_states_before_and_after_it
            a_second_settle_of_one_delivery_is_stale
            a_settle_that_names_another_event_is_stale
            state_and_emits_are_stored_with_the_settle
            an_emit_that_is_known_is_not_appended_again
            the_first_result_of_a_flow_stands
            a_retry_waits_beside_the_queue_and_counts
            a_snooze_is_no_failure
            the_history_holds_the_last_sixteen_attempts
            journaled_results_last_until_the_delivery_is_settled
            progress_is_told_while_the_delivery_is_open
            deferred_deliveries_come_back_in_order_behind_what_they_wait_for
            a_queue_settled_out_of_order_stays_bounded_and_loses_nothing
            a_dead_letter_is_open_counted_and_listed
            dead_letters_page_over_all_subscriptions
            a_parking_dead_letter_holds_its_key_back
            a_retried_dead_letter_comes_back_at_its_place
            a_skipped_dead_letter_lets_its_flow_rest
            a_repair_of_what_is_not_dead_is_stale
            a_retry_at_a_time_waits_for_it
            what_was_done_by_hand_is_done_with_what_it_emits
            an_event_that_supersedes_a_dead_letter_takes_its_place
            an_event_of_another_key_that_supersedes_is_the_last_of_the_queue
            dead_letters_that_fail_alike_are_counted_as_they_come_and_go
            what_waits_behind_is_listed_in_its_order
            undos_are_kept_and_emitted_the_last_one_first
            a_dead_undo_makes_its_flow_stuck
            a_pivot_is_the_point_of_no_return
            a_pivot_calls_off_a_way_back_that_has_undone_nothing
            a_flow_on_its_way_back_never_expires
            a_subscription_keeps_its_number_and_its_backlog
            a_subscription_from_the_start_gets_earlier_events_in_order
            an_attached_subscription_gets_what_was_routed_before_it_was_known
            a_pause_is_remembered
            a_status_expires_and_the_id_stays_remembered
            a_status_that_was_polled_expires
            an_open_flow_never_expires
            ids_are_forgotten_after_the_window
            pressure_forgets_the_oldest_ids_but_none_of_an_open_flow
            a_long_flow_lists_all_its_events
            large_values_are_kept_whole
            what_nobody_hears_is_counted_and_listed_until_it_expires
            what_a_filter_keeps_out_is_told_as_filtered_and_not_as_unrouted
            a_replay_opens_what_is_at_rest_and_leaves_the_others_alone
            a_replayed_delivery_keeps_its_replay_through_retry_and_repair
            a_replayed_flow_does_not_expire_while_it_is_open
            a_subscription_from_the_start_gets_what_its_filter_takes
            events_are_read_in_their_order_from_any_number
            events_are_found_by_what_is_known_of_them
            flows_are_found_by_what_is_known_of_them
            what_has_expired_is_found_no_more
            a_search_is_bounded_and_goes_on_where_it_ended
            a_fact_is_stored_with_its_change_or_not_at_all
            what_goes_along_is_done_with_its_change_or_not_at_all
            records_of_the_bus_are_kept_by_shelf_and_name
            facts_are_listed_newest_first_until_they_expire
            delayed_events_are_counted
            a_delayed_event_can_be_moved
            a_delayed_event_can_be_taken_back
            what_was_released_cannot_be_moved
            an_open_flow_is_overdue_once
            a_flow_at_rest_is_never_overdue
            the_deadline_is_that_of_the_first_event
        );
    };
    (@tests $engine:path: $($promise:ident)+) => {
        $(
            #[test]
            fn $promise() {
                $crate::store::conformance::$promise(&mut $engine());
            }
        )+
    };
}
