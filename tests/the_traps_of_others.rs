//! Promise: what others were seen to break, holds here.
//!
//! Message systems:
//!
//! | Trap | Test (file) |
//! |---|---|
//! | retry for ever slows the others | `what_fails_for_ever_takes_no_more_than_its_share_of_a_rate` (here), `what_fails_for_ever_does_not_take_the_permits_of_the_others` (`an_outage_is_not_poison`) |
//! | a delay holds up its key | `a_delayed_event_does_not_delay_the_others_of_its_key` (`a_delayed_event_can_be_moved_or_cancelled`) |
//! | kill -9 at every write | `whatever_is_lost_failed_and_repaired_all_of_it_ends_once_and_in_order` (`no_history_breaks_a_promise`), `everything_acknowledged_ends_once_and_the_money_agrees` (`actors`, `nothing_acknowledged_is_lost_over_kill_9`) |
//! | a lowered `max_attempts` hides events; a restart revives dead ones | `at_a_start_what_is_over_the_limit_is_told_and_runs_no_more` (`a_lowered_limit_makes_dead_letters`), `a_lowered_count_of_attempts_makes_dead_letters_of_what_is_over_it` (`the_wiring_can_be_changed_while_it_runs`), `dead_letters_and_what_waits_behind_them_survive_a_restart` (`a_failed_step_becomes_a_dead_letter`) |
//! | a slow handler runs on while its retry starts | `a_hung_thread_holds_no_key_and_its_late_end_counts_for_nothing` (here), `an_attempt_that_hangs_times_out_and_is_tried_again` (`every_way_to_fail_means_one_thing`) |
//! | counting delayed events | `many_delayed_events_are_counted_without_looking_at_them` (`a_delayed_event_can_be_moved_or_cancelled`) |
//! | a backlog over the limits stands still after a restart | `a_backlog_drains_after_a_restart_without_new_events` (here) |
//! | a repaired event that dies again vanishes | `what_dies_again_is_seen_again` (`a_dead_letter_can_be_put_right_by_hand`) |
//! | a handler that was removed takes its dead events along | `a_dead_letter_whose_subscription_is_gone_is_listed_and_can_be_taken_up_again` (`the_wiring_can_be_changed_while_it_runs`) |
//! | the clock jumps | `a_clock_that_jumps_back_fires_no_time_twice` (`a_schedule_fires_once`), `each_comes_at_its_own_time_however_far_the_clock_is_moved` (`a_delayed_event_comes_at_its_time`) |
//! | a repeat in flight, after the end, with another body | `of_a_hundred_publishers_of_one_id_one_stores_and_all_are_answered_the_same`, `another_body_is_refused_and_nothing_of_its_batch_is_stored` (`a_repeated_event_is_stored_once`) |
//! | bulk repair loses its place | `it_goes_on_after_a_restart_where_it_was`, `killed_at_any_moment_it_does_nothing_twice_and_leaves_nothing_out`, `it_keeps_its_rate_by_the_clock_of_the_bus` (`a_bulk_repair_is_a_durable_job`) |
//! | a full mailbox loses or detaches | `a_full_queue_refuses_and_takes_again` (`a_flood_is_refused_not_lost`), `a_backlog_drains_after_a_restart_without_new_events` (here) |
//! | the disk is full | `a_write_that_meets_a_full_disk_poisons_too`, `a_full_disk_at_the_next_segment_is_told_and_can_be_tried_again` (`src/store/journal/tests/`), `below_the_disk_reserve_nothing_is_taken` (`src/bus/admission.rs`) |
//! | a console that anybody reaches | does not apply: there is no console |
//!
//! Frameworks:
//!
//! | Trap | Test (file) |
//! |---|---|
//! | a repair is swallowed as a repeat | `a_retry_is_no_duplicate_and_runs_before_what_waits_behind_it` (`a_dead_letter_can_be_put_right_by_hand`), `a_retry_is_never_taken_for_a_duplicate` (`a_subscription_can_be_replayed`) |
//! | a replay loops | `a_replay_that_is_broken_off_goes_on_and_takes_nothing_twice` (`a_subscription_can_be_replayed`) |
//! | a group's retry takes what died later | `what_fails_after_it_was_asked_for_is_not_taken` (`a_bulk_repair_is_a_durable_job`) |
//! | a second edit is ignored | `a_second_edit_is_told_and_the_edited_event_can_be_edited_when_it_dies` (`a_dead_letter_can_be_put_right_by_hand`) |
//! | the order of middleware decides | does not apply: there is no middleware |
//! | a retry's wait holds the lane | `a_key_that_waits_holds_up_no_other` (`events_of_a_key_are_handled_in_order`) |
//! | a renamed handler consumes all again | `a_renamed_step_does_not_begin_anew` (`the_wiring_can_be_changed_while_it_runs`) |
//! | an error shown as done, two counts of attempts | `attempts_are_counted_once_and_no_error_is_shown_as_done` (here) |
//! | a hung step holds its key for ever | `a_hung_thread_holds_no_key_and_its_late_end_counts_for_nothing` (here) |
//! | a shutdown counts as a failure | `an_attempt_that_is_cut_off_counts_as_nothing` (`a_shutdown_loses_nothing`), `an_attempt_that_the_drain_interrupts_counts_as_nothing_and_runs_again` (`actors`, `a_drain_burns_no_attempt`) |
//! | dead letters without a retry | `without_a_policy_of_its_own_a_step_is_retried` (here) |
//! | wiring in code and in files drift | does not apply: wiring is in files only; what does not fit the steps refuses the start (`a_wrong_wiring_refuses_the_start`) |
//! | "not now" burns an attempt | `a_snooze_counts_against_nothing` (`every_way_to_fail_means_one_thing`) |
//! | dead letters that cannot be looked at | `looking_at_dead_letters_takes_none_away` (here) |
//! | a test kit that waits by the wall clock | does not apply to the harness: it waits for facts; only time-outs of attempts are real time |
//! | a restart in a group's retry loses the rest | `it_goes_on_after_a_restart_where_it_was` (`a_bulk_repair_is_a_durable_job`) |
//! | a herd of retries | `jitter_only_lengthens`, `jitter_spreads_deliveries_that_failed_together` (`src/retry.rs`) |
//! | config names that the environment does not reach | `every_kind_of_value_can_come_from_the_environment` (`src/config/tests.rs`) |
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Job, job, wired, work};
use tidegate::bus::view::{DeliveryStatus, FlowStatus};
use tidegate::event::{Draft, EventName};
use tidegate::prelude::*;
use tidegate::testing::Harness;

/// Seconds by the clock of the bus until all the good ones are done.
fn seconds_for_the_good_ones(failing: u64) -> u64 {
    let (steps, log) = work(|job, _| if job.n < 1_000 { Err(StepError::retry("for ever")) } else { Ok(()) });
    let retry = "retry = { max_attempts = 100000, share = 0.25, backoff = { first = \"1s\", factor = 1.0, jitter = 0.0 } }";
    let mut h = Harness::new(steps, &wired(&format!("concurrency = 4\nrate = \"100/s\"\n{retry}")));
    for n in 0..950 {
        if n < failing {
            h.publish("job.given", job(n, &format!("bad{n}")));
        }
        h.publish("job.given", job(1_000 + n, &format!("good{n}")));
    }
    (1..100)
        .find(|_| {
            h.advance(Duration::from_secs(1));
            log.all().iter().filter(|call| call.n >= 1_000).count() == 950
        })
        .expect("they end")
}

#[test]
fn what_fails_for_ever_takes_no_more_than_its_share_of_a_rate() {
    let alone = seconds_for_the_good_ones(0);
    let beside = seconds_for_the_good_ones(50);

    // Four starts for three of the good ones, and the first tries of the bad ones.
    assert!(beside <= alone * 4 / 3 + 1, "{alone} s alone, {beside} s beside fifty that fail for ever");
}

#[test]
fn a_backlog_drains_after_a_restart_without_new_events() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired("concurrency = 1"));
    h.pause("work", true);
    for first in (0..20_000_u64).step_by(1_000) {
        let name = || EventName::new("job.given").unwrap();
        let data = |n: u64| job(n, &format!("k{}", n % 7)).to_string().into_bytes().into();
        let drafts = (first..first + 1_000).map(|n| Draft::json(name(), data(n))).collect();
        h.wait_for(h.bus().publish(drafts)).unwrap();
    }
    h.run_until_idle();
    assert_eq!((h.subscription("work").backlog, log.all().len()), (20_000, 0));

    h.restart();
    h.pause("work", false);
    h.run_until_idle();

    assert_eq!((h.subscription("work").backlog, log.all().len()), (0, 20_000));
    assert!((0..7).all(|k| log.of_key(&format!("k{k}")).is_sorted()));
}

#[test]
fn attempts_are_counted_once_and_no_error_is_shown_as_done() {
    let (steps, log) = work(|_, _| Err(StepError::retry("no")));
    let retry = "retry = { max_attempts = 4, backoff = { first = \"1s\", jitter = 0.0 } }";
    let mut h = Harness::new(steps, &wired(retry));
    let accepted = h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    assert_eq!(h.status("/http", &accepted.id).deliveries[0].attempts, 1);
    h.restart();
    h.advance(Duration::from_mins(5));

    let counted: Vec<u32> = log.all().iter().map(|call| call.attempt).collect();
    assert_eq!(counted, [1, 2, 3, 4], "as the step is told, over a restart");
    let delivery = h.status("/http", &accepted.id).deliveries.remove(0);
    assert_eq!((delivery.state, delivery.attempts), (DeliveryStatus::Dead, 4));
    assert_eq!(h.dead_letters()[0].attempts, 4);
    let view = h.flow(&accepted.flow);
    assert_eq!((view.status, view.events[0].deliveries[0].history.len()), (FlowStatus::Failed, 4));
    assert!(view.events[0].deliveries[0].history.iter().all(|attempt| attempt.outcome != "done"));
    h.assert_not_emitted("job.told");
}

#[test]
fn without_a_policy_of_its_own_a_step_is_retried() {
    let (steps, log) = work(|_, _| Err(StepError::retry("no")));
    let mut h = Harness::new(steps, &wired(""));
    h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_hours(24));

    assert_eq!((log.count(1), h.dead_letters().len()), (12, 1));
}

#[test]
fn looking_at_dead_letters_takes_none_away() {
    let (steps, log) = work(|_, _| Err(StepError::fatal("broken", "for good")));
    let mut h = Harness::new(steps, &wired(""));
    for n in 0..5 {
        h.publish("job.given", job(n, &format!("k{n}")));
    }
    h.run_until_idle();

    for _ in 0..3 {
        let letters = h.dead_letters();
        assert_eq!(letters.len(), 5);
        for letter in letters {
            let shown = h.wait_for(h.bus().dead_letter(&letter.id)).unwrap();
            assert!(shown.data.is_some());
        }
    }
    assert_eq!(log.all().len(), 5, "and runs none");
}

/// Blocks its thread for ever at its first attempt, until the test lets it go.
struct Hung {
    go: Mutex<Receiver<()>>,
    over: Sender<()>,
    begun: Arc<Mutex<Vec<u64>>>,
}

impl Step for Hung {
    const NAME: &'static str = "hung";
    const BLOCKING: bool = true;
    type State = Vec<u64>;
}

impl On<Job> for Hung {
    type Emits = ();
    async fn on(&self, job: Job, done: &mut Vec<u64>, cx: &StepContext) -> Result<(), StepError> {
        self.begun.lock().unwrap().push(job.n);
        done.push(job.n);
        if job.n == 1 && cx.attempt() == 1 {
            self.go.lock().unwrap().recv().unwrap();
            self.over.send(()).unwrap();
        }
        Ok(())
    }
}

#[test]
fn a_hung_thread_holds_no_key_and_its_late_end_counts_for_nothing() {
    let ((let_go, go), (over, is_over)) = (channel(), channel());
    let begun = Arc::new(Mutex::new(Vec::new()));
    let hung = Hung { go: Mutex::new(go), over, begun: Arc::clone(&begun) };
    let wiring = "[subscription.hung]\nstep = \"hung\"\non = [\"job.given\"]\ntimeout = \"50ms\"\n";
    let mut h = Harness::new(Registry::new().step(hung).on::<Job>(), wiring);
    let accepted = h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "a"));

    h.run_until_idle();
    let delivery = h.status("/http", &accepted.id).deliveries.remove(0);
    assert_eq!(delivery.state, DeliveryStatus::Waiting, "for its retry");
    assert!(delivery.error.unwrap().contains("timed out"));
    h.advance(Duration::from_mins(1));
    assert_eq!(*begun.lock().unwrap(), [1, 1, 2], "the retry, then the next one of its key");

    let_go.send(()).unwrap();
    is_over.recv().unwrap();
    h.run_until_idle();
    assert_eq!(h.state("hung", "a"), serde_json::json!([1, 2]), "once");
    h.assert_flow(&accepted.flow, FlowStatus::Done);
}
