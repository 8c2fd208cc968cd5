//! `status` and `flow`: where things stand, and how they came there.

use std::time::Duration;

use super::args::{FlowArgs, StatusArgs};
use super::client::{Answer, Client, encoded, status_path};
use super::failure::{Exit, Failure};
use super::output::{Output, Tone, clean_line, plural};
use super::patience::Patience;
use super::tree;
use crate::bus::view::{FlowStatus, FlowView, StatusView};
use crate::clock::Stopwatch;

/// Longest wait of one request: servers and proxies cut longer ones.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Pause between two questions when the server answers sooner than it was asked to.
const PAUSE: Duration = Duration::from_millis(200);

/// Shows the status of an event.
pub(super) fn status(args: &StatusArgs, output: Output) -> Result<Exit, Failure> {
    show_status(&Client::new(&args.server)?, &args.id, &args.source, args.wait, output)
}

/// Shows a flow as a tree.
pub(super) fn flow(args: &FlowArgs, output: Output) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let id = if args.event {
        client.get(&status_path(&args.id, &args.source), None)?.parse::<StatusView>()?.flow
    } else {
        args.id.clone()
    };
    let state = if args.state { "?state=true" } else { "" };
    let answer = client.get(&format!("/v1/flows/{}{state}", encoded(&id)), None).map_err(|mut failure| {
        if let Failure::Refused(problem) = &mut failure
            && problem.status == Some(404)
            && !args.event
        {
            problem.remedy.get_or_insert_with(|| "is it the id of an event? then add --event".to_owned());
        }
        failure
    })?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&tree::render(&answer.parse::<FlowView>()?, output.paint));
    }
    Ok(Exit::Done)
}

/// Shows a status; with `wait` seconds, only when its flow is at rest or the time is over.
pub(super) fn show_status(
    client: &Client,
    id: &str,
    source: &str,
    wait: Option<u64>,
    output: Output,
) -> Result<Exit, Failure> {
    let path = status_path(id, source);
    let (answer, status) = match wait {
        None => ask(client, &path, None)?,
        Some(seconds) => at_rest(client, &path, Duration::from_secs(seconds))?,
    };
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&told(&status, output));
    }
    Ok(Exit::yes(wait.is_none() || status.status == FlowStatus::Done))
}

fn ask(client: &Client, path: &str, wait: Option<Duration>) -> Result<(Answer, StatusView), Failure> {
    let answer = client.get(path, wait)?;
    let status = answer.parse()?;
    Ok((answer, status))
}

/// Asks until the flow is at rest or the time is over; the last answer in both cases.
fn at_rest(client: &Client, path: &str, time: Duration) -> Result<(Answer, StatusView), Failure> {
    let patience = Patience::default();
    let watch = Stopwatch::start();
    loop {
        let left = time.saturating_sub(watch.elapsed());
        // Whole seconds, rounded up: `wait=0` would be no wait at all.
        let wait =
            Duration::from_secs(left.min(LONGEST_WAIT).as_millis().div_ceil(1_000).try_into().unwrap_or(1));
        let asked = Stopwatch::start();
        let known = patience.insist(|_, _| {}, || ask(client, path, (!wait.is_zero()).then_some(wait)))?;
        let is_at_rest = match known.1.status {
            FlowStatus::Done | FlowStatus::Failed | FlowStatus::Compensated | FlowStatus::Stuck => true,
            FlowStatus::Accepted | FlowStatus::Processing | FlowStatus::Compensating => false,
        };
        if is_at_rest || watch.elapsed() >= time {
            return Ok(known);
        }
        if asked.elapsed() < wait {
            patience.wait(PAUSE.min(time.saturating_sub(watch.elapsed())));
        }
    }
}

pub(super) fn told(status: &StatusView, output: Output) -> String {
    let paint = output.paint;
    let mut lines = vec![format!(
        "{}  {}  {}",
        paint.tint(Tone::Strong, &clean_line(&status.id)),
        clean_line(&status.name),
        tree::word_of(status.status, paint)
    )];
    if let Some(result) = &status.result {
        lines.push(format!("  result  {}", clean_line(result.get())));
    }
    let (open, dead) = (status.open, plural(status.dead, "dead letter"));
    lines.push(format!("  flow    {}  ({open} open, {dead})", clean_line(&status.flow)));
    lines.extend(
        tree::deadline_of(status.deadline.as_deref(), status.overdue).map(|line| format!("  {line}")),
    );
    for delivery in &status.deliveries {
        for (index, line) in tree::delivery(delivery, paint).into_iter().enumerate() {
            lines.push(format!("  {}{line}", if index == 0 { "" } else { "  " }));
        }
    }
    let hint = match (status.dead, status.status) {
        (0, _) => format!("everything that happened: tidegate flow {}", clean_line(&status.flow)),
        _ => format!("what waits for you: tidegate dead list --flow {}", clean_line(&status.flow)),
    };
    lines.push(paint.tint(Tone::Faint, &hint));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cli::fake;

    /// A server whose flow is at rest from the `rest`-th question on.
    fn server(rest: usize, end: &'static str) -> (Client, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let client = fake::client(&fake::serve(move |request| {
            assert_eq!(request.path, "/v1/events/o1?source=%2Fhttp");
            assert!(request.prefer.as_deref().is_none_or(|prefer| prefer.starts_with("wait=")));
            let is_at_rest = count.fetch_add(1, Ordering::Relaxed) + 1 >= rest;
            let status = if is_at_rest { end } else { "processing" };
            let body = serde_json::json!({
                "id": "o1", "source": "/http", "name": "a.b", "flow": "f1", "status": status, "result": null,
                "open": 1, "dead": 0, "deliveries": [], "version": 1,
            });
            fake::json(200, &body)
        }));
        (client, asked)
    }

    #[test]
    fn waiting_ends_when_the_flow_is_at_rest_however_often_the_server_answers_early() {
        for (end, expected) in [("done", FlowStatus::Done), ("failed", FlowStatus::Failed)] {
            let (client, asked) = server(3, end);

            let (_, status) = at_rest(&client, &status_path("o1", "/http"), Duration::from_mins(10)).unwrap();

            assert_eq!(status.status, expected);
            assert_eq!(asked.load(Ordering::Relaxed), 3);
        }
    }

    #[test]
    fn waiting_ends_with_the_time_and_asks_at_least_once() {
        let (client, asked) = server(usize::MAX, "done");

        let (_, status) = at_rest(&client, &status_path("o1", "/http"), Duration::ZERO).unwrap();

        assert_eq!(status.status, FlowStatus::Processing);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
