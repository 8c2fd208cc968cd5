//! Promise: dead letters that have failed alike are one group, counted as they come and go; and it can be
//! seen what waits behind each.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use kit::{Switch, job, wired, work};
use tidegate::bus::view::{DeadGroupView, DeadLetterFilter};
use tidegate::bus::{Operator, QueryError, RepairRequest, When};
use tidegate::prelude::*;
use tidegate::testing::Harness;

fn desk() -> (Harness, Switch) {
    let mended = Switch::default();
    let is_mended = mended.clone();
    let (steps, _) = work(move |job, _| {
        if is_mended.is_on() {
            return Ok(());
        }
        match job.n % 10 {
            0 => Err(StepError::fatal("stolen", format!("card \"{}\" of job {} is stolen", job.key, job.n))),
            1 => {
                Err(StepError::fatal("limit", format!("job {} is over the limit of {}.50", job.n, job.n * 7)))
            }
            _ => Ok(()),
        }
    });
    (Harness::new(steps, &wired("")), mended)
}

fn groups(h: &Harness) -> Vec<DeadGroupView> {
    let page = h.wait_for(h.bus().dead_groups(None, None, 100)).unwrap();
    let mut items = page.items;
    items.sort_by_key(|group| group.message.clone());
    items
}

fn of_group(h: &Harness, group: &str) -> Vec<String> {
    let filter = DeadLetterFilter { group: Some(group.to_owned()), ..DeadLetterFilter::default() };
    let page = h.wait_for(h.bus().dead_letters(filter, None, 100)).unwrap();
    page.items.into_iter().map(|letter| letter.key).collect()
}

#[test]
fn numbers_ids_and_quoted_texts_tell_no_group_from_another() {
    let (mut h, _) = desk();
    for (n, key) in [(10, "a"), (20, "b"), (11, "c"), (30, "d"), (12, "e")] {
        h.publish("job.given", job(n, key));
        h.advance(std::time::Duration::from_secs(1));
    }

    let found = groups(&h);

    let told: Vec<_> = found.iter().map(|group| (group.message.as_str(), group.count)).collect();
    assert_eq!(
        told,
        [
            ("fatal (limit): job # is over the limit of #", 1),
            ("fatal (stolen): card # of job # is stolen", 3)
        ]
    );
    let stolen = &found[1];
    assert_eq!((stolen.subscription.as_str(), stolen.reason.as_str()), ("work", "fatal"));
    assert!(stolen.first < stolen.last, "{stolen:?}");
    let letters = h.dead_letters();
    assert_eq!((&stolen.sample, &letters[0].group), (&letters[0].id, &stolen.group));
    assert_eq!(
        (of_group(&h, &stolen.group), of_group(&h, &found[0].group)),
        (vec!["a".to_owned(), "b".to_owned(), "d".to_owned()], vec!["c".to_owned()])
    );
    assert_eq!(of_group(&h, "0000000000000001"), [""; 0]);
    let odd = DeadLetterFilter { group: Some("odd".to_owned()), ..DeadLetterFilter::default() };
    let odd = h.wait_for(h.bus().dead_letters(odd, None, 100));
    assert!(matches!(odd, Err(QueryError::Invalid { .. })), "{odd:?}");
}

#[test]
fn a_group_shrinks_and_goes_with_its_letters_and_is_the_same_after_a_restart() {
    let (mut h, mended) = desk();
    for (n, key) in [(10, "a"), (20, "b"), (30, "c"), (40, "d")] {
        h.publish("job.given", job(n, key));
    }
    h.run_until_idle();
    let before = groups(&h);
    h.restart();
    assert_eq!(groups(&h)[0].group, before[0].group);
    let letters: Vec<String> = h.dead_letters().into_iter().map(|letter| letter.id).collect();
    let act = |h: &Harness, n: usize, request| {
        let operator = Operator { reason: "seen to".to_owned(), ..Operator::default() };
        h.wait_for(h.bus().repair(&letters[n], request, operator)).unwrap();
    };
    let again = || RepairRequest::Retry { when: When::Now, force: false };

    act(&h, 0, RepairRequest::Skip);
    assert_eq!(
        (groups(&h)[0].count, &groups(&h)[0].sample),
        (3, &letters[1]),
        "the sample is one that is there"
    );
    act(&h, 1, again());
    h.run_until_idle();
    assert_eq!(
        (groups(&h)[0].count, groups(&h)[0].group.clone()),
        (3, before[0].group.clone()),
        "dead again"
    );
    mended.turn(true);
    act(&h, 1, again());
    act(&h, 2, RepairRequest::Edit { data: job(2, "c").to_string().into(), force: false });
    act(&h, 3, RepairRequest::Done { emits: Vec::new(), result: None, force: false });
    h.run_until_idle();

    assert!(groups(&h).is_empty() && h.dead_letters().is_empty());
}

#[test]
fn what_waits_behind_a_dead_letter_is_listed_in_its_order_page_by_page() {
    let (mut h, mended) = desk();
    h.publish("job.given", job(10, "a"));
    h.run_until_idle();
    let behind: Vec<String> = (2..7).map(|n| h.publish("job.given", job(n, "a")).id.clone()).collect();
    h.publish("job.given", job(8, "b"));
    h.run_until_idle();
    let letter = h.dead_letters()[0].id.clone();
    let page = |h: &Harness, cursor, limit| {
        let page = h.wait_for(h.bus().waiting_behind(&letter, cursor, limit)).unwrap();
        (page.items.into_iter().map(|waiting| waiting.event).collect::<Vec<_>>(), page.next)
    };

    let shown = h.wait_for(h.bus().dead_letter(&letter)).unwrap();
    assert_eq!((shown.behind, shown.parks), (Some(5), true));
    assert_eq!(shown.data.unwrap().get(), job(10, "a").to_string());
    let (first, next) = page(&h, None, 3);
    assert_eq!((&first[..], next.is_some()), (&behind[..3], true));
    assert_eq!(page(&h, next, 3), (behind[3..].to_vec(), None));
    let odd = h.wait_for(h.bus().waiting_behind(&letter, Some("odd".to_owned()), 3));
    assert!(matches!(odd, Err(QueryError::BadCursor { .. })), "{odd:?}");

    mended.turn(true);
    h.retry(&letter);
    h.run_until_idle();
    let gone = h.wait_for(h.bus().waiting_behind(&letter, None, 3));
    assert!(matches!(gone, Err(QueryError::NotFound { .. })), "{gone:?}");
}

#[test]
fn nothing_waits_behind_a_letter_that_lets_its_key_go_on() {
    let (steps, _) = work(|job, _| if job.n == 1 { Err(StepError::fatal("no", "never")) } else { Ok(()) });
    let mut h = Harness::new(steps, &wired("retry = { exhausted = \"skip\" }"));
    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "a"));
    h.run_until_idle();

    let letter = h.dead_letters().remove(0);
    let shown = h.wait_for(h.bus().dead_letter(&letter.id)).unwrap();
    let waiting = h.wait_for(h.bus().waiting_behind(&letter.id, None, 9)).unwrap();

    assert_eq!((shown.behind, shown.parks, waiting.items.len()), (Some(0), false, 0));
}
