//! `jobs`: acts on many dead letters, started, followed, stopped and resumed.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::args::{DeadFilter, JobsArgs, JobsVerb, ServerArgs, Which};
use super::client::{Client, JSON, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, clean_line, plural, table};
use super::patience::Patience;
use crate::bus::view::Page;
use crate::bus::{JobAct, JobItem, JobState, JobView, Rehearsal};

/// Pause between two looks at a job that is followed.
const PAUSE: Duration = Duration::from_millis(200);
/// Jobs and items that one request lists.
const PAGE: usize = 500;

/// Starts a job for all dead letters that the filter leaves, and follows it to its end.
pub(super) fn start(
    client: &Client,
    verb: &str,
    which: &Which,
    how: &Value,
    output: Output,
) -> Result<Exit, Failure> {
    let answer = client.post(&format!("/v1/dead-letters/{verb}"), JSON, &body(which, how).to_string())?;
    if which.dry_run {
        if output.is_json {
            output.text(&answer.body);
        } else {
            output.text(&rehearsed(verb, &answer.parse::<Rehearsal>()?));
        }
        return Ok(Exit::Done);
    }
    let job: JobView = answer.parse()?;
    if which.detach {
        show(&job, output);
        return Ok(Exit::Done);
    }
    follow(client, job, output)
}

/// What the server is asked for: `how` it is done, and for which ones.
fn body(which: &Which, how: &Value) -> Value {
    let filter: &DeadFilter = &which.filter;
    let mut body: Map<String, Value> = how.as_object().cloned().unwrap_or_default();
    let texts = [
        ("subscription", &filter.subscription),
        ("flow", &filter.flow),
        ("name", &filter.name),
        ("dead_reason", &filter.dead_reason),
        ("key", &filter.key),
        ("event", &filter.event),
        ("group", &filter.group),
        ("since", &which.since),
        ("until", &which.until),
        ("rate", &which.rate),
    ];
    for (name, text) in texts {
        body.extend(text.as_ref().map(|text| (name.to_owned(), json!(text))));
    }
    body.extend([("all".to_owned(), json!(true)), ("dry_run".to_owned(), json!(which.dry_run))]);
    Value::Object(body)
}

fn rehearsed(verb: &str, said: &Rehearsal) -> String {
    let mut lines = vec![format!("would {verb} {}", plural(said.matched, "dead letter"))];
    if !said.groups.is_empty() {
        let head = ["COUNT", "SUBSCRIPTION", "REASON", "GROUP", "MESSAGE"];
        let rows: Vec<Vec<String>> = said
            .groups
            .iter()
            .map(|group| {
                [&group.count.to_string(), &group.subscription, &group.reason, &group.group, &group.message]
                    .map(|cell| clean_line(cell))
                    .to_vec()
            })
            .collect();
        lines.push(table(&head, &rows));
    }
    lines.extend(said.items.iter().map(|letter| clean_line(&letter.id)));
    let more = said.matched.saturating_sub(said.items.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// Looks at a job until it is no longer at work. An interruption ends the looking, not the job.
fn follow(client: &Client, mut job: JobView, output: Output) -> Result<Exit, Failure> {
    let bar = if output.is_json { ProgressBar::hidden() } else { bar(job.counts.matched) };
    let patience = Patience::default();
    let path = path(&job.id);
    while job.state == JobState::Running {
        bar.set_position(job.counts.done.saturating_add(job.counts.refused));
        bar.set_message(format!("job {}, {} refused", job.id, job.counts.refused));
        patience.wait(PAUSE);
        job = patience.insist(|_, _| {}, || client.get(&path, None)?.parse())?;
    }
    bar.finish_and_clear();
    if !output.is_json && job.counts.refused > 0 {
        for item in items(client, &job.id)?.into_iter().filter(|item| !item.done) {
            let problem = item.problem.unwrap_or_default();
            output.note(&format!("{}: {}", clean_line(&item.dead_letter), clean_line(&problem)));
        }
    }
    show(&job, output);
    if job.act == JobAct::Retry && job.counts.done > 0 {
        output.note("they are queued again; what fails again is in `tidegate dead list`");
    }
    Ok(Exit::yes(job.state == JobState::Finished && job.counts.refused == 0))
}

fn bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    // On anything but a terminal nothing is drawn.
    match ProgressStyle::with_template("{bar:40} {pos}/{len}  {msg}  {elapsed}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn items(client: &Client, id: &str) -> Result<Vec<JobItem>, Failure> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("{}/items?limit={PAGE}{cursor}", path(id));
        let page: Page<JobItem> = client.get(&path, None)?.parse()?;
        all.extend(page.items);
        let Some(next) = page.next else { return Ok(all) };
        cursor = format!("&cursor={}", encoded(&next));
    }
}

/// Runs the command.
pub(super) fn jobs(args: JobsArgs, output: Output) -> Result<Exit, Failure> {
    match args.verb {
        None => list(&args.server, output),
        Some(JobsVerb::List(server)) => list(&server, output),
        Some(JobsVerb::Show { id, items: true, server }) => show_items(&Client::new(&server)?, &id, output),
        Some(JobsVerb::Show { id, items: false, server }) => {
            let job: JobView = Client::new(&server)?.get(&path(&id), None)?.parse()?;
            show(&job, output);
            Ok(Exit::Done)
        }
        Some(JobsVerb::Follow { id, server }) => {
            let client = Client::new(&server)?;
            let job = client.get(&path(&id), None)?.parse()?;
            follow(&client, job, output)
        }
        Some(JobsVerb::Stop { id, server }) => steer(&Client::new(&server)?, &id, "stop", output),
        Some(JobsVerb::Resume { id, server }) => steer(&Client::new(&server)?, &id, "resume", output),
    }
}

fn path(id: &str) -> String {
    format!("/v1/jobs/{}", encoded(id))
}

fn steer(client: &Client, id: &str, verb: &str, output: Output) -> Result<Exit, Failure> {
    let job: JobView = client.post(&format!("{}/{verb}", path(id)), JSON, "{}")?.parse()?;
    show(&job, output);
    Ok(Exit::Done)
}

fn list(server: &ServerArgs, output: Output) -> Result<Exit, Failure> {
    let answer = Client::new(server)?.get(&format!("/v1/jobs?limit={PAGE}"), None)?;
    if output.is_json {
        output.text(&answer.body);
        return Ok(Exit::Done);
    }
    let page: Page<JobView> = answer.parse()?;
    output.text(&if page.items.is_empty() { "no jobs".to_owned() } else { told(&page.items) });
    Ok(Exit::Done)
}

fn show_items(client: &Client, id: &str, output: Output) -> Result<Exit, Failure> {
    let items = items(client, id)?;
    if output.is_json {
        output.document(&json!({ "items": items }));
        return Ok(Exit::Done);
    }
    let head = ["N", "DEAD LETTER", "DONE", "EVENT", "FLOW", "PROBLEM"];
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let done = if item.done { "yes" } else { "no" };
            let problem = item.problem.as_deref().unwrap_or_default();
            [&item.n.to_string(), &item.dead_letter, done, &item.event, &item.flow, problem]
                .map(clean_line)
                .to_vec()
        })
        .collect();
    output.text(&table(&head, &rows));
    Ok(Exit::Done)
}

fn show(job: &JobView, output: Output) {
    if output.is_json {
        output.document(job);
    } else {
        output.text(&told(std::slice::from_ref(job)));
    }
}

fn told(jobs: &[JobView]) -> String {
    let head = ["JOB", "STARTED", "ACT", "STATE", "DONE", "OF", "REFUSED", "GONE", "RATE", "BY", "REASON"];
    let state = |state| match state {
        JobState::Running => "running",
        JobState::Stopped => "stopped",
        JobState::Finished => "finished",
    };
    let row = |job: &JobView| {
        let counts = job.counts;
        [
            job.id.as_str(),
            &job.started,
            job.act.as_str(),
            state(job.state),
            &counts.done.to_string(),
            &counts.matched.to_string(),
            &counts.refused.to_string(),
            &counts.gone.to_string(),
            job.rate.as_deref().unwrap_or("-"),
            &job.by,
            &job.reason,
        ]
        .map(clean_line)
        .to_vec()
    };
    table(&head, &jobs.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::cli::fake;

    fn job(state: &str, done: u64, refused: u64) -> Value {
        json!({
            "id": "j1", "act": "retry", "filter": {}, "rate": "10/s", "reason": "back", "by": "ann", "state": state,
            "counts": { "matched": 3, "done": done, "refused": refused, "gone": 0 },
            "started": "2026-01-01T00:00:00Z", "finished": null,
        })
    }

    fn all() -> Which {
        Which {
            ids: Vec::new(),
            all: true,
            dry_run: false,
            rate: Some("10/s".to_owned()),
            since: None,
            until: None,
            detach: false,
            filter: DeadFilter { subscription: Some("pay".to_owned()), ..DeadFilter::default() },
        }
    }

    #[test]
    fn a_job_is_followed_to_its_end_and_what_was_refused_is_a_no() {
        let output = Output::new(false, true);
        for (refused, exit) in [(0, Exit::Done), (1, Exit::No)] {
            let looked = Arc::new(AtomicU64::new(0));
            let looks = Arc::clone(&looked);
            let client = fake::client(&fake::serve(move |request| match request.path.as_str() {
                "/v1/dead-letters/retry" => {
                    let asked: Value = serde_json::from_str(&request.body).unwrap();
                    assert_eq!(
                        asked,
                        json!({ "all": true, "subscription": "pay", "rate": "10/s", "reason": "back", "after": "5m",
                            "dry_run": false })
                    );
                    fake::json(202, &job("running", 0, 0))
                }
                "/v1/jobs/j1" => match looks.fetch_add(1, Ordering::Relaxed) {
                    0 => fake::json(200, &job("running", 1, 0)),
                    _ => fake::json(200, &job("finished", 3 - refused, refused)),
                },
                path => {
                    assert_eq!(path, "/v1/jobs/j1/items?limit=500");
                    let item = json!({ "n": 1, "dead_letter": "pay-1", "done": false, "problem": "gone" });
                    fake::json(200, &json!({ "items": [item], "next": null }))
                }
            }));

            assert_eq!(
                start(&client, "retry", &all(), &json!({ "reason": "back", "after": "5m" }), output).unwrap(),
                exit
            );
            assert_eq!(looked.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn detached_it_is_not_followed() {
        let client = fake::client(&fake::serve(|request| {
            assert_eq!(request.path, "/v1/dead-letters/skip");
            fake::json(202, &job("running", 0, 0))
        }));

        let exit = start(
            &client,
            "skip",
            &Which { detach: true, ..all() },
            &json!({ "reason": "x" }),
            Output::new(false, true),
        );

        assert_eq!(exit.unwrap(), Exit::Done);
    }

    #[test]
    fn a_rehearsal_shows_groups_and_the_first_letters() {
        let said: Rehearsal = serde_json::from_value(json!({
            "dry_run": true, "matched": 40, "items": [],
            "groups": [{ "group": "00ab", "subscription": "pay", "reason": "attempts", "message": "out #", "count": 40 }],
        }))
        .unwrap();

        assert_eq!(
            rehearsed("retry", &said),
            "would retry 40 dead letters\n\
             COUNT  SUBSCRIPTION  REASON    GROUP  MESSAGE\n\
             40     pay           attempts  00ab   out #\n\
             and 40 more"
        );
    }
}
