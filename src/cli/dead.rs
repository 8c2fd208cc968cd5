//! `dead`: what failed for good and waits for a person.

use serde::Serialize;
use serde_json::{Map, Value};

use super::args::{DeadFilter, DeadVerb, Which};
use super::client::{Client, JSON, encoded};
use super::failure::{Exit, Failure, Problem};
use super::jobs;
use super::mend::{self, ByHand};
use super::output::{Output, Tone, clean, clean_line, plural, table};
use crate::bus::view::{DeadLetterView, Page};

/// Dead letters that one request lists.
const PAGE: usize = 500;

/// What came of the act on one dead letter.
#[derive(Debug, Serialize)]
struct Outcome {
    id: String,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// Runs the command.
pub(super) fn dead(verb: &DeadVerb, output: Output) -> Result<Exit, Failure> {
    match verb {
        DeadVerb::List { filter, limit, server } => list(&Client::new(server)?, filter, *limit, output),
        DeadVerb::Retry { which, reason, at, after, force, server } => {
            let given = [("at", at), ("after", after)].into_iter();
            let given = given.filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
            let force = force.then(|| ("force".to_owned(), Value::Bool(true)));
            let reason = ("reason".to_owned(), reason.clone().into());
            let body = given.chain(force).chain([reason]).collect::<Map<_, _>>().into();
            act(&Client::new(server)?, "retry", which, &body, output)
        }
        DeadVerb::Skip { which, reason, server } => {
            act(&Client::new(server)?, "skip", which, &serde_json::json!({ "reason": reason }), output)
        }
        DeadVerb::Show { id, server } => mend::show(server, id, output),
        DeadVerb::Edit { id, data, reason, force, server } => {
            mend::edit(server, id, data.as_deref(), (reason, *force), output)
        }
        DeadVerb::Done { id, reason, emit, result, force, server } => {
            let by_hand = ByHand { reason, emit, result: result.as_deref(), force: *force };
            mend::done(server, id, &by_hand, output)
        }
        DeadVerb::Groups { subscription, limit, server } => {
            mend::groups(server, subscription.as_deref(), *limit, output)
        }
        DeadVerb::Waiting { id, limit, server } => mend::waiting(server, id, *limit, output),
    }
}

fn list(client: &Client, filter: &DeadFilter, limit: usize, output: Output) -> Result<Exit, Failure> {
    let page = collect(client, filter, limit)?;
    if output.is_json {
        output.document(&page);
        return Ok(Exit::Done);
    }
    if page.items.is_empty() {
        output.text("no dead letters");
        return Ok(Exit::Done);
    }
    let head = ["ID", "SINCE", "SUBSCRIPTION", "KEY", "EVENT", "REASON", "TRIES", "ERROR"];
    let rows: Vec<Vec<String>> = page.items.iter().map(row).collect();
    output.text(&table(&head, &rows));
    if page.next.is_some() {
        let more = format!("there are more; --limit is {limit}");
        output.text(&output.paint.tint(Tone::Faint, &more));
    }
    Ok(Exit::Done)
}

fn row(letter: &DeadLetterView) -> Vec<String> {
    let event = format!("{} {}", letter.name, letter.event);
    [
        &letter.id,
        &letter.since,
        &letter.subscription,
        &letter.key,
        &event,
        &letter.reason,
        &letter.attempts.to_string(),
        &letter.error,
    ]
    .map(|cell| clean_line(cell))
    .to_vec()
}

/// The first `limit` dead letters that the filter leaves, page by page; `next` says whether there are more.
fn collect(client: &Client, filter: &DeadFilter, limit: usize) -> Result<Page<DeadLetterView>, Failure> {
    let mut all = Page { items: Vec::new(), next: None };
    loop {
        let wanted = limit.saturating_sub(all.items.len()).min(PAGE);
        if wanted == 0 {
            return Ok(all);
        }
        let path = list_path(filter, wanted, all.next.as_deref());
        let page: Page<DeadLetterView> = client.get(&path, None)?.parse()?;
        // A page may be empty and still not be the last: only the cursor says so.
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn list_path(filter: &DeadFilter, limit: usize, cursor: Option<&str>) -> String {
    let filters = [
        ("subscription", filter.subscription.as_deref()),
        ("flow", filter.flow.as_deref()),
        ("name", filter.name.as_deref()),
        ("reason", filter.dead_reason.as_deref()),
        ("group", filter.group.as_deref()),
        ("key", filter.key.as_deref()),
        ("event", filter.event.as_deref()),
        ("cursor", cursor),
    ];
    let given = filters.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", encoded(value?))));
    given.fold(format!("/v1/dead-letters?limit={limit}"), |path, part| path + &part)
}

/// Does the same to each; one that is refused keeps no other back.
fn act(client: &Client, verb: &str, which: &Which, body: &Value, output: Output) -> Result<Exit, Failure> {
    if !which.all && which.filter != DeadFilter::default() {
        return Err(Failure::Usage(
            "a filter goes with --all; the ids name the dead letters already".to_owned(),
        ));
    }
    if which.all {
        return jobs::start(client, verb, which, body, output);
    }
    let ids = which.ids.clone();
    if which.dry_run {
        return Ok(rehearse(verb, &ids, output));
    }
    let (outcomes, exit) = each(client, verb, ids, body);
    if output.is_json {
        output.document(&serde_json::json!({ "items": outcomes }));
    } else {
        tell(verb, &outcomes, output);
    }
    Ok(exit)
}

fn each(client: &Client, verb: &str, ids: Vec<String>, body: &Value) -> (Vec<Outcome>, Exit) {
    let body = body.to_string();
    let mut outcomes = Vec::with_capacity(ids.len());
    let mut exit = Exit::Done;
    for id in ids {
        let path = format!("/v1/dead-letters/{}/{verb}", encoded(&id));
        let failure = client.post(&path, JSON, &body).err();
        outcomes.push(Outcome {
            id,
            done: failure.is_none(),
            problem: failure.as_ref().map(Failure::to_problem),
        });
        if let Some(failure) = failure {
            exit = failure.exit();
            // The others would fare no better with a server that cannot be reached.
            if exit == Exit::Unreachable {
                break;
            }
        }
    }
    (outcomes, exit)
}

fn rehearse(verb: &str, ids: &[String], output: Output) -> Exit {
    if output.is_json {
        output.document(&serde_json::json!({ "dry_run": true, "ids": ids }));
    } else {
        let ids: Vec<String> = ids.iter().map(|id| clean_line(id)).collect();
        output.text(&format!("would {verb} {}\n{}", plural(ids.len() as u64, "dead letter"), ids.join("\n")));
    }
    Exit::Done
}

fn tell(verb: &str, outcomes: &[Outcome], output: Output) {
    let mut done = 0;
    for outcome in outcomes {
        match &outcome.problem {
            None => done += 1,
            Some(problem) => {
                output.note(&format!("{}: {}", clean_line(&outcome.id), clean(&problem.to_string())));
            }
        }
    }
    let word = if verb == "skip" { "skipped" } else { "retried" };
    output.text(&format!("{} {word}, {} refused", plural(done, "dead letter"), outcomes.len() as u64 - done));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake;

    #[test]
    fn filters_become_query_parameters() {
        let filter = DeadFilter {
            subscription: Some("pay".to_owned()),
            dead_reason: Some("fatal".to_owned()),
            key: Some("a&b".to_owned()),
            ..DeadFilter::default()
        };

        assert_eq!(
            list_path(&filter, 50, Some("c 1")),
            "/v1/dead-letters?limit=50&subscription=pay&reason=fatal&key=a%26b&cursor=c%201"
        );
    }

    fn letter(id: u64) -> Value {
        serde_json::json!({
            "id": format!("d{id}"), "event": "o1", "source": "/http", "name": "a.b", "flow": "f", "subscription": "pay",
            "key": "a1", "reason": "fatal", "attempts": 3, "error": "stolen", "since": "2026-01-01T00:00:00Z", "history": [],
        })
    }

    /// Three pages; the second is empty, which is not the end.
    fn pages(request: &fake::Request) -> fake::Reply {
        let (items, next) = match request.path.split("cursor=").nth(1) {
            None => (vec![letter(1), letter(2)], Some("two")),
            Some("two") => (vec![], Some("three")),
            Some(_) => (vec![letter(3)], None),
        };
        fake::json(200, &serde_json::json!({ "items": items, "next": next }))
    }

    #[test]
    fn all_pages_are_read_up_to_the_limit() {
        let client = fake::client(&fake::serve(pages));
        let ids = |limit| {
            let page = collect(&client, &DeadFilter::default(), limit).unwrap();
            (page.items.into_iter().map(|letter| letter.id).collect::<Vec<_>>(), page.next.is_some())
        };

        assert_eq!(ids(usize::MAX), (vec!["d1".to_owned(), "d2".to_owned(), "d3".to_owned()], false));
        assert_eq!(ids(2), (vec!["d1".to_owned(), "d2".to_owned()], true));
    }

    #[test]
    fn one_that_is_refused_keeps_no_other_back_but_a_lost_server_ends_the_run() {
        let client = fake::client(&fake::serve(|request| {
            assert_eq!(request.body, r#"{"reason":"bank is back"}"#);
            match request.path.as_str() {
                "/v1/dead-letters/gone/retry" => fake::problem(404, "no such dead letter"),
                "/v1/dead-letters/late/retry" => fake::problem(503, "draining"),
                _ => fake::json(200, &serde_json::json!({})),
            }
        }));
        let run = |ids: &[&str]| {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            let (outcomes, exit) =
                each(&client, "retry", ids, &serde_json::json!({ "reason": "bank is back" }));
            (outcomes.iter().map(|outcome| outcome.done).collect::<Vec<_>>(), exit)
        };

        assert_eq!(run(&["1", "2"]), (vec![true, true], Exit::Done));
        assert_eq!(run(&["1", "gone", "2"]), (vec![true, false, true], Exit::No));
        assert_eq!(run(&["1", "late", "2"]), (vec![true, false], Exit::Unreachable));
    }
}
