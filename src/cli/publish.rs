//! `publish`: one event from the arguments, a file or standard input; many through `flood`.

use std::io::Read as _;

use serde::Deserialize;

use super::args::PublishArgs;
use super::client::{Answer, CLOUDEVENT, Client};
use super::failure::{Exit, Failure};
use super::flood;
use super::lines::Recipe;
use super::output::{Output, Tone, clean_line};
use super::patience::Patience;
use super::show;

/// The answer to one published event.
#[derive(Debug, Deserialize)]
pub(super) struct Receipt {
    /// Its id.
    pub(super) id: String,
    /// Its source.
    pub(super) source: String,
    /// Its flow.
    pub(super) flow: String,
    /// Whether it was known before, where the answer says so for each event of a batch.
    #[serde(default)]
    pub(super) replayed: bool,
}

/// Publishes what the arguments say.
pub(super) fn publish(args: &PublishArgs, output: Output) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    if args.lines || args.count.is_some() {
        return flood::flood(args, &client, output);
    }
    if args.id_field.is_some() || args.key_field.is_some() {
        return Err(Failure::Usage(
            "--id-field and --key-field go with --lines or --count; use --id and --key".to_owned(),
        ));
    }
    let data = data(args.data.as_deref())?;
    let event = Recipe::of(args).event(data.as_bytes()).map_err(|message| {
        Failure::Usage(format!(
            "{message}; put the data in single quotes, write @FILE, or - for standard input"
        ))
    })?;
    let answer = insist(&client, &event, |text| output.note(text))?;
    let receipt: Receipt = answer.parse()?;
    if let Some(seconds) = args.wait {
        return show::show_status(&client, &receipt.id, &receipt.source, Some(seconds), output);
    }
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&told(&receipt, answer.is_replayed || receipt.replayed, output));
    }
    Ok(Exit::Done)
}

/// Sends the event until it is taken or refused. The same bytes each time, so the same id: the bus knows a
/// repeat.
fn insist(client: &Client, event: &str, mut note: impl FnMut(&str)) -> Result<Answer, Failure> {
    let busy = |failure: &Failure, wait| {
        note(&format!("{}; trying again in {wait:?}", clean_line(&failure.to_string())));
    };
    Patience::default().insist(busy, || client.post("/v1/events", CLOUDEVENT, event))
}

fn told(receipt: &Receipt, is_replayed: bool, output: Output) -> String {
    let id = clean_line(&receipt.id);
    let word = if is_replayed { "known already" } else { "accepted" };
    let source = if receipt.source == "/http" {
        String::new()
    } else {
        format!(" --source {}", clean_line(&receipt.source))
    };
    let hint = format!("see what becomes of it: tidegate status {id}{source} --wait 30");
    format!(
        "{}  {id}  flow {}\n{}",
        output.paint.tint(Tone::Good, word),
        clean_line(&receipt.flow),
        output.paint.tint(Tone::Faint, &hint)
    )
}

/// The data as text: what is written, or what stands in the file.
pub(super) fn data(argument: Option<&str>) -> Result<String, Failure> {
    match argument {
        None => Err(Failure::Usage(
            "there is no data; write it as JSON, as @FILE, or - for standard input (`{}` if there is nothing to say)".to_owned(),
        )),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::Usage(format!("cannot read standard input: {error}")))?;
            Ok(text)
        }
        Some(argument) => match argument.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("cannot read {path:?}: {error}"))),
            None => Ok(argument.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::cli::fake;

    #[test]
    fn a_busy_server_gets_the_very_same_event_again() {
        let seen = Mutex::new(Vec::new());
        let client = fake::client(&fake::serve(move |request| {
            let mut seen = seen.lock().unwrap();
            seen.push(request.body.clone());
            let is_same = seen.iter().all(|body| *body == request.body);
            match seen.len() {
                1 => fake::problem(503, "queue is full"),
                _ if is_same => (202, request.body.clone()),
                _ => fake::problem(400, "another event"),
            }
        }));
        let mut notes = Vec::new();

        let answer = insist(&client, r#"{"id":"made up once"}"#, |text| notes.push(text.to_owned())).unwrap();

        assert_eq!(answer.body, r#"{"id":"made up once"}"#);
        assert_eq!(notes, ["refused (503) queue is full; trying again in 0ns"]);
    }

    #[test]
    fn data_comes_from_the_argument_or_a_file_and_must_be_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.json");
        std::fs::write(&path, "[1]").unwrap();

        assert_eq!(data(Some("{}")).unwrap(), "{}");
        assert_eq!(data(Some(&format!("@{}", path.display()))).unwrap(), "[1]");
        for bad in [None, Some("@/no/such/file")] {
            assert_eq!(data(bad).unwrap_err().exit(), Exit::Usage, "{bad:?}");
        }
    }
}
