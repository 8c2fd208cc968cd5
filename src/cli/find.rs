//! `flows` and `events`: finding what happened by what a person knows of it.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::{EventsArgs, FindArgs, FlowsArgs};
use super::client::{Client, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, Tone, clean_line, table};
use crate::bus::view::{DeliveryStatus, FlowStatus, Page};
use crate::bus::{EventSummary, FlowSummary};
use crate::clock::Clock;
use crate::event::Timestamp;

/// Items that one request lists.
const PAGE: usize = 500;

/// Finds flows.
pub(super) fn flows(args: &FlowsArgs, output: Output) -> Result<Exit, Failure> {
    let filters = [("status", args.status.clone())];
    let path = list_path("/v1/flows", filters, &args.find, Clock::wall().now())?;
    let page: Page<FlowSummary> = collect(&Client::new(&args.server)?, &path, args.find.limit)?;
    let head = ["FLOW", "STATUS", "OPEN", "DEAD", "EVENTS", "BEGAN", "CHANGED", "KEY", "FIRST EVENT"];
    tell(&page, "flows", &head, flow_row, args.find.limit, output);
    Ok(Exit::Done)
}

/// Finds events.
pub(super) fn events(args: &EventsArgs, output: Output) -> Result<Exit, Failure> {
    let filters = [("flow", args.flow.clone())];
    let path = list_path("/v1/events", filters, &args.find, Clock::wall().now())?;
    let page: Page<EventSummary> = collect(&Client::new(&args.server)?, &path, args.find.limit)?;
    let head = ["ACKNOWLEDGED", "NAME", "KEY", "ID", "SOURCE", "FLOW", "DELIVERIES"];
    tell(&page, "events", &head, event_row, args.find.limit, output);
    Ok(Exit::Done)
}

fn tell<T: Serialize>(
    page: &Page<T>,
    what: &str,
    head: &[&str],
    row: impl Fn(&T) -> Vec<String>,
    limit: usize,
    output: Output,
) {
    if output.is_json {
        return output.document(page);
    }
    if page.items.is_empty() && page.next.is_none() {
        return output.text(&format!("no such {what}"));
    }
    output.text(&table(head, &page.items.iter().map(row).collect::<Vec<_>>()));
    if page.next.is_some() {
        let more = format!("there may be more; --limit is {limit}");
        output.text(&output.paint.tint(Tone::Faint, &more));
    }
}

fn flow_row(flow: &FlowSummary) -> Vec<String> {
    let status = match flow.status {
        FlowStatus::Accepted => "accepted",
        FlowStatus::Processing => "processing",
        FlowStatus::Done => "done",
        FlowStatus::Failed => "failed",
        FlowStatus::Compensating => "compensating",
        FlowStatus::Compensated => "compensated",
        FlowStatus::Stuck => "stuck",
    };
    let (open, dead, events) = (flow.open.to_string(), flow.dead.to_string(), flow.events.to_string());
    let first = format!("{} {}", flow.first.name, flow.first.id);
    let (began, key) = (&flow.first.acknowledged, &flow.first.key);
    [&flow.flow, status, &open, &dead, &events, began, &flow.changed, key, &first].map(clean_line).to_vec()
}

fn event_row(event: &EventSummary) -> Vec<String> {
    let deliveries = event.deliveries.iter().map(|d| format!("{}: {}", d.subscription, word(d.state)));
    let deliveries = deliveries.collect::<Vec<_>>().join(", ");
    let EventSummary { id, source, name, key, flow, acknowledged, causation: _, time: _, deliveries: _ } =
        event;
    [acknowledged, name, key, id, source, flow, &deliveries].map(|cell| clean_line(cell)).to_vec()
}

const fn word(state: DeliveryStatus) -> &'static str {
    match state {
        DeliveryStatus::Ready => "ready",
        DeliveryStatus::Inflight => "inflight",
        DeliveryStatus::Waiting => "waiting",
        DeliveryStatus::Parked => "parked",
        DeliveryStatus::Done => "done",
        DeliveryStatus::Skipped => "skipped",
        DeliveryStatus::Dead => "dead",
    }
}

/// The first `limit` items, page by page; `next` says whether there may be more.
fn collect<T: DeserializeOwned>(client: &Client, path: &str, limit: usize) -> Result<Page<T>, Failure> {
    let mut all: Page<T> = Page { items: Vec::new(), next: None };
    loop {
        let wanted = limit.saturating_sub(all.items.len()).min(PAGE);
        if wanted == 0 {
            return Ok(all);
        }
        let cursor = all.next.as_deref().map_or(String::new(), |next| format!("&cursor={}", encoded(next)));
        let page: Page<T> = client.get(&format!("{path}&limit={wanted}{cursor}"), None)?.parse()?;
        // A page may be empty and still not be the last: only the cursor says so.
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn list_path<const N: usize>(
    list: &str,
    more: [(&str, Option<String>); N],
    find: &FindArgs,
    now: Timestamp,
) -> Result<String, Failure> {
    let time = |text: &Option<String>| text.as_deref().map(|text| time(text, now)).transpose();
    let filters = [
        ("key", find.key.clone()),
        ("name", find.name.clone()),
        ("since", time(&find.since)?),
        ("until", time(&find.until)?),
    ];
    let given = more.into_iter().chain(filters);
    let given = given.filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?))));
    Ok(format!("{list}?{}", given.collect::<Vec<_>>().join("&")))
}

/// A time as the server takes it: as it is written, or so long before `now`.
fn time(text: &str, now: Timestamp) -> Result<String, Failure> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        Some(_) | None => 0,
    };
    let count = text.get(..text.len().saturating_sub(1)).and_then(|count| count.parse::<u64>().ok());
    if let Some(count) = count.filter(|_| unit > 0) {
        let ago = Duration::from_secs(count.saturating_mul(unit)).as_millis();
        return Ok(Timestamp(now.0.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))).to_string());
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Failure::Usage(format!(
            "{text:?} is no time; write 2026-03-31T14:05:09Z, or 90s, 15m, 2h, 3d for so long ago"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake;

    const NOW: Timestamp = Timestamp(1_774_944_000_000);

    #[test]
    fn a_time_is_written_or_so_long_ago() {
        for (text, expected) in [
            ("90s", "2026-03-31T07:58:30.000Z"),
            ("15m", "2026-03-31T07:45:00.000Z"),
            ("2h", "2026-03-31T06:00:00.000Z"),
            ("3d", "2026-03-28T08:00:00.000Z"),
            ("2026-03-31T14:05:09+02:00", "2026-03-31T14:05:09+02:00"),
        ] {
            assert_eq!(time(text, NOW).unwrap(), expected);
        }
        for text in ["", "m", "soon", "-2h", "2026-03-31", "2w"] {
            assert!(matches!(time(text, NOW), Err(Failure::Usage(_))), "{text}");
        }
    }

    #[test]
    fn pages_are_collected_also_over_empty_ones_until_there_are_enough() {
        let client = fake::client(&fake::serve(|request| {
            let (items, next) = match request.path.as_str() {
                "/v1/events?key=a%2F1&limit=3" => (vec![1], Some("9")),
                "/v1/events?key=a%2F1&limit=2&cursor=9" => (vec![], Some("8")),
                "/v1/events?key=a%2F1&limit=2&cursor=8" => (vec![2, 3], Some("7")),
                other => panic!("{other}"),
            };
            fake::json(200, &serde_json::json!({ "items": items, "next": next }))
        }));
        let find = FindArgs { key: Some("a/1".to_owned()), name: None, since: None, until: None, limit: 3 };
        let path = list_path("/v1/events", [("flow", None)], &find, NOW).unwrap();

        let page: Page<u64> = collect(&client, &path, find.limit).unwrap();

        assert_eq!((page.items, page.next.as_deref()), (vec![1, 2, 3], Some("7")));
    }
}
