//! Promise: what a subscription does not get because of its `where`, and what nobody gets, is counted and listed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use kit::{job, wired, work};
use tidegate::bus::view::{FlowStatus, UnheardView};
use tidegate::bus::{Accepted, Operator, PublishError, QueryError, ReplayFrom, ReplayRequest};
use tidegate::event::{Draft, EventName};
use tidegate::testing::Harness;

/// A job that came through a channel.
fn through(n: u64, channel: &str) -> Draft {
    let data = job(n, "a").to_string().into_bytes().into();
    let extensions = [("channel".to_owned(), channel.to_owned())].into();
    Draft { extensions, ..Draft::json(EventName::new("job.given").unwrap(), data) }
}

fn ids(items: &[UnheardView]) -> Vec<&str> {
    items.iter().map(|event| event.id.as_str()).collect()
}

fn filtered(h: &Harness) -> Vec<UnheardView> {
    h.wait_for(h.bus().filtered("work", None, 100)).unwrap().items
}

fn metric(h: &Harness, name: &str) -> u64 {
    let text = h.metrics();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

const WEB: &str = "where = { channel = \"web\", source = \"/http\" }";

#[test]
fn a_subscription_gets_only_what_its_filter_takes() {
    let (steps, log) = work(|_, _| Ok(()));
    let all = "[subscription.all]\nstep = \"work\"\non = [\"job.given\"]\n";
    let mut h = Harness::new(steps, &(wired(WEB) + all));

    h.publish_draft(through(1, "web"));
    let kept_out: Accepted = h.publish_draft(through(2, "shop"));
    h.publish_draft(Draft { source: "/other".to_owned(), ..through(3, "web") });
    h.publish("job.given", job(4, "a"));
    h.run_until_idle();

    assert_eq!(log.of("work"), [1]);
    assert_eq!(log.of("all"), [1, 2, 3, 4]);
    assert_eq!(filtered(&h).len(), 3);
    let view = h.flow(&kept_out.flow);
    assert_eq!((view.status, &view.events[0].filtered), (FlowStatus::Done, &vec!["work".to_owned()]));
    let subscription = h.subscription("work");
    assert_eq!((subscription.filtered, subscription.backlog), (3, 0));
    assert_eq!(subscription.filter["channel"], "web");
    assert_eq!(metric(&h, "tidegate_filtered_total{subscription=\"work\"}"), 3);
}

#[test]
fn an_event_that_is_only_filtered_is_not_unrouted() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(WEB));

    let kept_out = h.publish_draft(through(1, "shop"));
    h.run_until_idle();

    assert_eq!(ids(&filtered(&h)), [&kept_out.id]);
    assert_eq!(h.wait_for(h.bus().unrouted(None, 100)).unwrap().total, 0);
    h.assert_flow(&kept_out.flow, FlowStatus::Done);
}

#[test]
fn strict_mode_refuses_names_that_nobody_hears_and_takes_what_is_filtered() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &format!("[http]\nstrict = true\n{}", wired(WEB)));

    let accepted = h.try_publish(through(1, "shop"));
    let refused = h.try_publish(Draft { name: EventName::new("job.givn").unwrap(), ..through(2, "web") });
    h.run_until_idle();

    assert!(accepted.is_ok(), "{accepted:?}");
    assert!(
        matches!(&refused, Err(PublishError::Unheard { suggestion: Some(name), .. }) if name == "job.given")
    );
    assert_eq!((log.all().len(), filtered(&h).len()), (0, 1));
}

#[test]
fn what_nobody_hears_is_listed_newest_first_emitted_events_too() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish_as("lost", "job.lost", job(1, "k"));
    h.publish_as("one", "job.given", job(2, "k"));
    h.publish_as("lost", "job.lost", job(1, "k"));
    // A fact that nobody hears is no loss.
    h.pause("work", true);
    h.pause("work", false);
    h.run_until_idle();

    let first = h.wait_for(h.bus().unrouted(None, 1)).unwrap();
    let second = h.wait_for(h.bus().unrouted(first.next.clone(), 1)).unwrap();

    assert_eq!(
        (first.items[0].name.as_str(), first.items[0].key.as_str(), first.total),
        ("job.told", "k", 2)
    );
    assert_eq!((ids(&second.items), second.next, second.names.len()), (vec!["lost"], None, 0));
    let names: Vec<_> = first.names.iter().map(|count| (count.name.as_str(), count.events)).collect();
    assert_eq!(names, [("job.lost", 1), ("job.told", 1)]);
    assert_eq!(metric(&h, "tidegate_unrouted_total"), 2);
    h.restart();
    assert_eq!(metric(&h, "tidegate_unrouted_total"), 2, "the count outlives the process");
    let bad = h.wait_for(h.bus().unrouted(Some("x".to_owned()), 1));
    assert!(matches!(bad, Err(QueryError::BadCursor { .. })), "{bad:?}");
}

#[test]
fn a_replay_keeps_to_the_filter() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(WEB));
    for (n, channel) in [(1, "web"), (2, "shop"), (3, "app")] {
        h.publish_draft(through(n, channel));
    }
    h.run_until_idle();
    let all = ReplayRequest { from: ReplayFrom::Start, until: None, name: None, key: None };

    h.wait_for(h.bus().replay("work", all.clone(), Operator::default())).unwrap();
    h.run_until_idle();
    assert_eq!(log.of("work"), [1, 1]);

    // The wiring takes another channel now: what it had kept out can be had.
    let (steps, log) = work(|_, _| Ok(()));
    h.rewire(steps, &wired("where = { channel = \"shop\" }"));
    h.wait_for(h.bus().replay("work", all, Operator::default())).unwrap();
    h.run_until_idle();
    assert_eq!(log.of("work"), [2]);
    assert_eq!(filtered(&h).len(), 1);
}
