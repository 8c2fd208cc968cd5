//! `cancel`, `reschedule` and `schedules`: what the bus does by the time.

use serde_json::{Map, Value};

use super::args::{CancelArgs, RescheduleArgs, ServerArgs};
use super::client::{Client, JSON, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, clean_line, table};
use super::show;
use crate::bus::view::{Page, ScheduleView, StatusView};

/// Takes a delayed event back.
pub(super) fn cancel(args: &CancelArgs, output: Output) -> Result<Exit, Failure> {
    let body = body([("reason", args.reason.as_deref())]);
    act(&args.server, &args.id, &args.source, "cancel", &body, output)
}

/// Moves a delayed event.
pub(super) fn reschedule(args: &RescheduleArgs, output: Output) -> Result<Exit, Failure> {
    let body = body([
        ("at", args.at.as_deref()),
        ("after", args.after.as_deref()),
        ("reason", args.reason.as_deref()),
    ]);
    act(&args.server, &args.id, &args.source, "reschedule", &body, output)
}

/// Lists schedules.
pub(super) fn schedules(server: &ServerArgs, output: Output) -> Result<Exit, Failure> {
    let answer = Client::new(server)?.get("/v1/schedules", None)?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&told(&answer.parse::<Page<ScheduleView>>()?.items));
    }
    Ok(Exit::Done)
}

fn act(
    server: &ServerArgs,
    id: &str,
    source: &str,
    verb: &str,
    body: &str,
    output: Output,
) -> Result<Exit, Failure> {
    let path = format!("/v1/events/{}/{verb}?source={}", encoded(id), encoded(source));
    let answer = Client::new(server)?.post(&path, JSON, body)?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&show::told(&answer.parse::<StatusView>()?, output));
    }
    Ok(Exit::Done)
}

/// The members that are given.
fn body<const N: usize>(members: [(&str, Option<&str>); N]) -> String {
    let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    Value::Object(given.collect::<Map<_, _>>()).to_string()
}

fn told(schedules: &[ScheduleView]) -> String {
    let head = ["SCHEDULE", "EVENT", "CRON", "ZONE", "MISSED", "LAST", "NEXT"];
    let rows: Vec<Vec<String>> = schedules
        .iter()
        .map(|one| {
            let (last, next) = (one.last.as_deref().unwrap_or("-"), one.next.as_deref().unwrap_or("-"));
            [&one.name, &one.event, &one.cron, &one.zone, &one.missed, last, next].map(clean_line).to_vec()
        })
        .collect();
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_sent() {
        assert_eq!(body([("at", None), ("after", Some("5m")), ("reason", None)]), r#"{"after":"5m"}"#);
        assert_eq!(body([("reason", None)]), "{}");
    }

    #[test]
    fn a_time_is_told_in_one_way_only() {
        use clap::Parser as _;
        let parse = |line: &str| super::super::args::Arguments::try_parse_from(line.split_whitespace());
        for good in
            ["reschedule e1 --after 5m", "reschedule e1 --at x", "publish a.b {} --after 7d", "cancel e1"]
        {
            assert!(parse(&format!("tidegate {good}")).is_ok(), "{good}");
        }
        for bad in ["reschedule e1", "reschedule e1 --at x --after 5m", "publish a.b {} --after 7", "cancel"]
        {
            assert!(parse(&format!("tidegate {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_published_event_says_when_it_is_due() {
        let recipe = super::super::lines::Recipe {
            name: "a.b",
            source: "/http",
            id: Some("1"),
            key: None,
            id_field: None,
            key_field: None,
            due: Some("2026-04-01T02:00:00Z".to_owned()),
        };
        let event = recipe.event(b"{}").unwrap();
        assert!(event.contains(r#""deliverat":"2026-04-01T02:00:00Z""#), "{event}");
    }

    #[test]
    fn schedules_are_shown_in_columns() {
        let one = r#"{"name":"nightly","event":"a.b","cron":"0 2 * * *","zone":"UTC","missed":"once","last":null,"next":"2026-04-01T02:00:00.000Z"}"#;
        let page: Page<ScheduleView> =
            serde_json::from_str(&format!(r#"{{"items":[{one}],"next":null}}"#)).unwrap();

        assert_eq!(
            told(&page.items),
            "SCHEDULE  EVENT  CRON       ZONE  MISSED  LAST  NEXT\n\
             nightly   a.b    0 2 * * *  UTC   once    -     2026-04-01T02:00:00.000Z"
        );
    }

    #[test]
    fn an_act_names_the_event_with_its_source_and_shows_where_it_stands() {
        let url = super::super::fake::serve(|request| {
            assert_eq!(request.path, "/v1/events/a%2Fb/reschedule?source=%2Fhttp");
            assert_eq!(request.body, r#"{"at":"2026-04-01T02:00:00Z","reason":"late"}"#);
            super::super::fake::problem(409, "event \"a/b\" is not delayed")
        });
        let text = |text: &str| Some(text.to_owned());
        let args = RescheduleArgs {
            id: "a/b".to_owned(),
            source: "/http".to_owned(),
            at: text("2026-04-01T02:00:00Z"),
            after: None,
            reason: text("late"),
            server: ServerArgs { url, by: None },
        };

        let refused = reschedule(&args, Output::new(false, true)).unwrap_err();

        assert!(matches!(&refused, Failure::Refused(problem) if problem.status == Some(409)), "{refused}");
    }
}
