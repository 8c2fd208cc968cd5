//! Promise: an event whose time is over before its attempt starts runs no code and is told as a dead letter of its
//! own kind; it holds up nobody, and a person can have it run all the same.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::time::Duration;

use kit::{job, wired, work};
use tidegate::bus::view::DeliveryStatus;
use tidegate::bus::{Operator, PublishError, RepairRequest, ReplayFrom, ReplayRequest};
use tidegate::event::{Draft, EventName, Timestamp};
use tidegate::prelude::*;
use tidegate::testing::Harness;

/// Job `n` for `key`, of no use `after` the start of the test.
fn expiring(h: &Harness, n: u64, key: &str, after: Duration) -> Draft {
    let name = EventName::new("job.given").unwrap();
    let mut draft = Draft::json(name, job(n, key).to_string().into_bytes().into());
    let at: Timestamp = h.clock().now().plus(after);
    draft.extensions.insert("expirytime".to_owned(), at.to_string());
    draft
}

#[test]
fn it_runs_no_code_and_holds_up_nobody() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.pause("work", true);
    let late = h.publish_draft(expiring(&h, 1, "a", Duration::from_mins(1)));
    h.publish_draft(expiring(&h, 2, "a", Duration::from_hours(2)));
    h.publish("job.given", job(3, "a"));
    h.advance(Duration::from_hours(1));

    h.pause("work", false);
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [2, 3], "the later ones of its key go on");
    let [letter] = &h.dead_letters()[..] else { panic!("{}", h.timelines()) };
    assert_eq!((letter.reason.as_str(), letter.attempts, &letter.event), ("expired", 1, &late.id));
    assert!(letter.error.starts_with("expired at 2026-"), "{}", letter.error);
    assert_eq!(h.status("/http", &late.id).deliveries[0].state, DeliveryStatus::Dead);
    let metrics = h.take_running().metrics()();
    let counted = "tidegate_attempts_total{subscription=\"work\",outcome=\"expired\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_person_can_have_it_run_all_the_same() {
    let (steps, log) =
        work(
            |job, cx| {
                if job.n == 1 && cx.attempt() < 4 { Err(StepError::retry("not yet")) } else { Ok(()) }
            },
        );
    let mut h = Harness::new(steps, &wired(""));
    h.pause("work", true);
    h.publish_draft(expiring(&h, 1, "a", Duration::from_mins(1)));
    h.advance(Duration::from_hours(1));
    h.pause("work", false);
    h.run_until_idle();
    let letter = h.dead_letters().remove(0).id;

    h.retry(&letter);
    h.advance(Duration::from_mins(1));
    h.restart();
    h.advance(Duration::from_mins(1));

    assert_eq!(log.count(1), 3, "also its retries run");
    assert_eq!((h.dead_letters().len(), h.subscription("work").backlog), (0, 0));
}

fn ann() -> Operator {
    Operator { by: "ann".to_owned(), reason: "wanted all the same".to_owned() }
}

#[test]
fn an_edit_of_it_runs_whatever_its_time_was() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.pause("work", true);
    h.publish_draft(expiring(&h, 1, "a", Duration::from_mins(1)));
    h.advance(Duration::from_hours(1));
    h.pause("work", false);
    h.run_until_idle();
    let letter = h.dead_letters().remove(0).id;

    let edit = RepairRequest::Edit { data: job(2, "a").to_string().into(), force: false };
    h.wait_for(h.bus().repair(&letter, edit, ann())).unwrap();
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [2]);
    assert!(h.dead_letters().is_empty());
}

#[test]
fn a_replay_hands_it_over_whatever_its_time_was() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish_draft(expiring(&h, 1, "a", Duration::from_mins(1)));
    h.advance(Duration::from_hours(1));

    let all = ReplayRequest { from: ReplayFrom::Start, until: None, name: None, key: None };
    h.wait_for(h.bus().replay("work", all, ann())).unwrap();
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [1, 1]);
    assert!(h.dead_letters().is_empty());
}

#[test]
fn one_that_fails_or_snoozes_past_its_time_is_not_tried_again() {
    for how in ["fail", "snooze"] {
        let (steps, log) = work(move |_, _| match how {
            "fail" => Err(StepError::retry_after(Duration::from_mins(2), "later")),
            _ => Err(StepError::snooze(Duration::from_mins(2))),
        });
        let mut h = Harness::new(steps, &wired(""));
        h.publish_draft(expiring(&h, 1, "a", Duration::from_mins(1)));
        h.publish("job.given", job(2, "a"));

        h.advance(Duration::from_mins(3));

        assert_eq!((log.count(1), log.count(2)), (1, 1), "{how}");
        let letters = h.dead_letters();
        assert_eq!((letters.len(), letters[0].reason.as_str(), letters[0].attempts), (1, "expired", 2));
    }
}

#[test]
fn a_time_that_is_none_is_refused() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));

    for wrong in ["tomorrow", "", "2026-03-01"] {
        let mut draft = expiring(&h, 1, "a", Duration::ZERO);
        draft.extensions.insert("expirytime".to_owned(), wrong.to_owned());
        let refused = h.try_publish(draft);
        assert!(matches!(refused, Err(PublishError::BadExpiry { .. })), "{wrong}: {refused:?}");
    }

    h.run_until_idle();
    assert!(log.all().is_empty() && h.events("job.given").is_empty());
}
