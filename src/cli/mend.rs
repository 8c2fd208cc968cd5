//! `dead show`, `edit`, `done`, `groups` and `waiting`: one dead letter looked at closely and put right.

use serde::Serialize;
use serde_json::value::RawValue;

use super::args::ServerArgs;
use super::client::{Client, JSON, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, Tone, clean, clean_line, table};
use super::publish::data;
use crate::bus::view::{DeadGroupView, DeadLetterView, DeliveryStatus, Page, RepairView, WaitingView};

/// What was done by hand, as the arguments say it.
#[derive(Debug)]
pub(super) struct ByHand<'a> {
    pub(super) reason: &'a str,
    /// Name and data in turns.
    pub(super) emit: &'a [String],
    pub(super) result: Option<&'a str>,
    pub(super) force: bool,
}

/// The data goes as it was written: a number keeps its digits.
#[derive(Debug, Serialize)]
struct EditBody<'a> {
    data: Box<RawValue>,
    force: bool,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct DoneBody<'a> {
    reason: &'a str,
    emits: Vec<EmitBody<'a>>,
    result: Option<Box<RawValue>>,
    force: bool,
}

#[derive(Debug, Serialize)]
struct EmitBody<'a> {
    name: &'a str,
    data: Box<RawValue>,
}

/// Shows one dead letter with its data, its history and what waits behind it.
pub(super) fn show(server: &ServerArgs, id: &str, output: Output) -> Result<Exit, Failure> {
    let answer = Client::new(server)?.get(&path(id, ""), None)?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&told(&answer.parse()?));
    }
    Ok(Exit::Done)
}

/// Puts an event with other data in the letter's place.
pub(super) fn edit(
    server: &ServerArgs,
    id: &str,
    text: Option<&str>,
    (reason, force): (&str, bool),
    output: Output,
) -> Result<Exit, Failure> {
    let body = EditBody { data: value(&data(text)?)?, force, reason };
    act(server, id, "edit", &body, output)
}

/// Records what was done by hand.
pub(super) fn done(
    server: &ServerArgs,
    id: &str,
    by_hand: &ByHand<'_>,
    output: Output,
) -> Result<Exit, Failure> {
    let mut emits = Vec::new();
    for pair in by_hand.emit.chunks_exact(2) {
        if let [name, text] = pair {
            emits.push(EmitBody { name, data: value(&data(Some(text))?)? });
        }
    }
    let result = by_hand.result.map(|text| data(Some(text)).and_then(|text| value(&text))).transpose()?;
    let body = DoneBody { reason: by_hand.reason, emits, result, force: by_hand.force };
    act(server, id, "done", &body, output)
}

fn act(
    server: &ServerArgs,
    id: &str,
    verb: &str,
    body: &impl Serialize,
    output: Output,
) -> Result<Exit, Failure> {
    let body = serde_json::to_string(body).map_err(|error| Failure::Usage(error.to_string()))?;
    let answer = Client::new(server)?.post(&path(id, verb), JSON, &body)?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&came_of(&answer.parse()?, output));
    }
    Ok(Exit::Done)
}

fn came_of(done: &RepairView, output: Output) -> String {
    let word = match done.status {
        DeliveryStatus::Done => "done by hand",
        DeliveryStatus::Skipped => "superseded",
        DeliveryStatus::Ready | DeliveryStatus::Inflight | DeliveryStatus::Waiting => "on its way",
        DeliveryStatus::Parked | DeliveryStatus::Dead => "waiting",
    };
    let mut lines = vec![format!("{}  {}", output.paint.tint(Tone::Good, word), clean_line(&done.id))];
    for event in &done.events {
        let (name, id, source) = (clean_line(&event.name), clean_line(&event.id), clean_line(&event.source));
        lines.push(format!("  {name}  {id}"));
        let hint = format!("  see what becomes of it: tidegate status {id} --source {source} --wait 30");
        lines.push(output.paint.tint(Tone::Faint, &hint));
    }
    if !done.left_out.is_empty() {
        let names = clean_line(&done.left_out.join(", "));
        lines.push(format!("  nothing was emitted; whoever waits for {names} is not reached (see --emit)"));
    }
    lines.join("\n")
}

/// Lists the groups of what has failed alike.
pub(super) fn groups(
    server: &ServerArgs,
    subscription: Option<&str>,
    limit: usize,
    output: Output,
) -> Result<Exit, Failure> {
    let filter = subscription.map_or(String::new(), |name| format!("&subscription={}", encoded(name)));
    let answer = Client::new(server)?.get(&format!("/v1/dead-letters/groups?limit={limit}{filter}"), None)?;
    if output.is_json {
        output.text(&answer.body);
        return Ok(Exit::Done);
    }
    let mut page: Page<DeadGroupView> = answer.parse()?;
    if page.items.is_empty() {
        output.text("no dead letters");
        return Ok(Exit::Done);
    }
    page.items.sort_by_key(|group| std::cmp::Reverse(group.count));
    output.text(&groups_told(&page.items));
    more(page.next.is_some(), limit, output);
    Ok(Exit::Done)
}

fn groups_told(groups: &[DeadGroupView]) -> String {
    let head = ["GROUP", "COUNT", "SUBSCRIPTION", "REASON", "FIRST", "LAST", "SAMPLE", "MESSAGE"];
    let row = |group: &DeadGroupView| {
        [
            &group.group,
            &group.count.to_string(),
            &group.subscription,
            &group.reason,
            &group.first,
            &group.last,
            &group.sample,
            &group.message,
        ]
        .map(|cell| clean_line(cell))
        .to_vec()
    };
    table(&head, &groups.iter().map(row).collect::<Vec<_>>())
}

/// Lists what waits behind a dead letter.
pub(super) fn waiting(server: &ServerArgs, id: &str, limit: usize, output: Output) -> Result<Exit, Failure> {
    let answer = Client::new(server)?.get(&format!("{}?limit={limit}", path(id, "waiting")), None)?;
    if output.is_json {
        output.text(&answer.body);
        return Ok(Exit::Done);
    }
    let page: Page<WaitingView> = answer.parse()?;
    if page.items.is_empty() {
        output.text("nothing waits behind it");
        return Ok(Exit::Done);
    }
    let row = |one: &WaitingView| {
        [&one.since, &one.name, &one.event, &one.flow].map(|cell| clean_line(cell)).to_vec()
    };
    let rows: Vec<Vec<String>> = page.items.iter().map(row).collect();
    output.text(&table(&["SINCE", "NAME", "EVENT", "FLOW"], &rows));
    more(page.next.is_some(), limit, output);
    Ok(Exit::Done)
}

fn more(is_more: bool, limit: usize, output: Output) {
    if is_more {
        output.text(&output.paint.tint(Tone::Faint, &format!("there are more; --limit is {limit}")));
    }
}

fn told(letter: &DeadLetterView) -> String {
    let behind = letter.behind.unwrap_or_default();
    let mut lines = vec![
        format!("dead letter   {}", letter.id),
        format!("event         {} {} of {}", letter.name, letter.event, letter.source),
        format!("flow          {}", letter.flow),
        format!("subscription  {}", letter.subscription),
        format!("key           {}", letter.key),
        format!("reason        {} after {} tries, since {}", letter.reason, letter.attempts, letter.since),
        format!("error         {}", letter.error),
        format!("group         {}", letter.group),
        format!("behind it     {behind}"),
    ];
    lines.extend(letter.data.as_deref().map(RawValue::get).map(|data| format!("data          {data}")));
    lines.extend(letter.history.iter().map(|attempt| {
        let error = attempt.error.as_deref().unwrap_or_default();
        format!("  {}  {}  {error}", attempt.at, attempt.outcome)
    }));
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
}

/// JSON as it was written.
fn value(text: &str) -> Result<Box<RawValue>, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::Usage(format!(
            "{error}; put the data in single quotes, write @FILE, or - for standard input"
        ))
    })
}

fn path(id: &str, verb: &str) -> String {
    let slash = if verb.is_empty() { "" } else { "/" };
    format!("/v1/dead-letters/{}{slash}{verb}", encoded(id))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::fake;

    fn plain() -> Output {
        Output::new(false, true)
    }

    #[test]
    fn an_edit_sends_the_data_of_a_file_as_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("data.json");
        std::fs::write(&file, r#"{"amount": 1.50}"#).unwrap();
        let url = fake::serve(|request| {
            let expected = r#"{"data":{"amount": 1.50},"force":false,"reason":"typo"}"#;
            match (request.path.as_str(), request.body == expected) {
                ("/v1/dead-letters/pay-1/edit", true) => {
                    fake::json(200, &json!({"id": "pay-1", "status": "skipped", "events": []}))
                }
                _ => fake::problem(400, &request.body),
            }
        });
        let server = ServerArgs { url, by: None };
        let data = format!("@{}", file.display());

        edit(&server, "pay-1", Some(&data), ("typo", false), plain()).unwrap();

        let wrong = edit(&server, "pay-1", Some("{"), ("typo", false), plain()).unwrap_err();
        assert_eq!(wrong.exit(), Exit::Usage);
    }

    #[test]
    fn what_was_done_by_hand_is_sent_with_its_events() {
        let url = fake::serve(|request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            let expected = json!({"reason": "by phone", "force": true, "result": null,
                "emits": [{"name": "a.b", "data": {}}, {"name": "c.d", "data": [1]}]});
            if body == expected {
                fake::json(200, &json!({"id": "pay-1", "status": "done"}))
            } else {
                fake::problem(400, &request.body)
            }
        });
        let emit = ["a.b", "{}", "c.d", "[1]"].map(str::to_owned);
        let by_hand = ByHand { reason: "by phone", emit: &emit, result: None, force: true };

        done(&ServerArgs { url, by: None }, "pay-1", &by_hand, plain()).unwrap();
    }

    #[test]
    fn a_group_is_a_line() {
        let group = DeadGroupView {
            group: "0a".to_owned(),
            subscription: "pay".to_owned(),
            reason: "attempts".to_owned(),
            message: "timed out\nafter #s".to_owned(),
            count: 12,
            first: "2026-01-01T00:00:00Z".to_owned(),
            last: "2026-01-02T00:00:00Z".to_owned(),
            sample: "pay-7".to_owned(),
        };

        assert_eq!(
            groups_told(&[group]),
            "GROUP  COUNT  SUBSCRIPTION  REASON    FIRST                 LAST                  SAMPLE  MESSAGE\n\
             0a     12     pay           attempts  2026-01-01T00:00:00Z  2026-01-02T00:00:00Z  pay-7   timed out after #s"
        );
    }
}
