//! `subscriptions`: who listens, how much waits for them, and whether they run.

use serde::Deserialize;

use super::args::{ServerArgs, SubscriptionsArgs, SubscriptionsVerb};
use super::client::{Answer, Client, JSON, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, clean_line, table};
use super::tree::millis;
use crate::bus::view::{Page, SubscriptionView};

/// A list, bare or as a page.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Page(Page<SubscriptionView>),
    All(Vec<SubscriptionView>),
}

/// Runs the command.
pub(super) fn subscriptions(args: SubscriptionsArgs, output: Output) -> Result<Exit, Failure> {
    match args.verb {
        None => list(&args.server, output),
        Some(SubscriptionsVerb::List(server)) => list(&server, output),
        Some(SubscriptionsVerb::Pause { name, server }) => steer(&server, &name, "pause", output),
        Some(SubscriptionsVerb::Resume { name, server }) => steer(&server, &name, "resume", output),
        Some(SubscriptionsVerb::Keys { name, server }) => {
            super::steer::keys(&Client::new(&server)?, &name, output)
        }
        Some(SubscriptionsVerb::State { name, key, server }) => {
            let path = format!("/v1/subscriptions/{}/state/{}", encoded(&name), encoded(&key));
            output.text(&Client::new(&server)?.get(&path, None)?.body);
            Ok(Exit::Done)
        }
    }
}

fn list(server: &ServerArgs, output: Output) -> Result<Exit, Failure> {
    let answer = Client::new(server)?.get("/v1/subscriptions", None)?;
    if output.is_json {
        output.text(&answer.body);
        return Ok(Exit::Done);
    }
    let (Listed::Page(Page { items, .. }) | Listed::All(items)) = answer.parse()?;
    output.text(&told(&items));
    Ok(Exit::Done)
}

fn steer(server: &ServerArgs, name: &str, verb: &str, output: Output) -> Result<Exit, Failure> {
    let path = format!("/v1/subscriptions/{}/{verb}", encoded(name));
    let answer: Answer = Client::new(server)?.post(&path, JSON, "{}")?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&told(&[answer.parse()?]));
    }
    Ok(Exit::Done)
}

fn told(subscriptions: &[SubscriptionView]) -> String {
    let head = ["SUBSCRIPTION", "STATE", "BACKLOG", "RUNNING", "DEAD", "OLDEST", "STEP", "ON"];
    let rows: Vec<Vec<String>> = subscriptions
        .iter()
        .map(|one| {
            let oldest = if one.backlog == 0 {
                "-".to_owned()
            } else {
                millis(one.oldest_seconds.saturating_mul(1_000))
            };
            [
                &one.name,
                &one.state,
                &one.backlog.to_string(),
                &one.inflight.to_string(),
                &one.dead.to_string(),
                &oldest,
                &one.step,
                &one.on.join(" "),
            ]
            .map(|cell| clean_line(cell))
            .to_vec()
        })
        .collect();
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_bare_and_as_a_page_and_shown_in_columns() {
        let one = r#"{"name":"pay","step":"pay","on":["a.b","c.>"],"state":"paused","backlog":7,"inflight":0,"dead":1,"oldest_seconds":90}"#;

        for body in [format!("[{one}]"), format!(r#"{{"items":[{one}],"next":null}}"#)] {
            let (Listed::Page(Page { items, .. }) | Listed::All(items)) =
                serde_json::from_str(&body).unwrap();

            assert_eq!(
                told(&items),
                "SUBSCRIPTION  STATE   BACKLOG  RUNNING  DEAD  OLDEST      STEP  ON\n\
                 pay           paused  7        0        1     1 min 30 s  pay   a.b c.>"
            );
        }
    }
}
