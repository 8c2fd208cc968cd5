//! `unrouted`: what nobody listens to, and what a subscription's `where` has kept out.

use super::args::UnroutedArgs;
use super::client::{Client, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, clean_line, plural, table};
use crate::bus::view::{Page, UnheardView, UnroutedView};

/// Runs the command.
pub(super) fn unrouted(args: &UnroutedArgs, output: Output) -> Result<Exit, Failure> {
    let path = match &args.filtered {
        Some(subscription) => format!("/v1/subscriptions/{}/filtered", encoded(subscription)),
        None => "/v1/unrouted".to_owned(),
    };
    let answer = Client::new(&args.server)?.get(&format!("{path}?limit={}", args.limit), None)?;
    if output.is_json {
        output.text(&answer.body);
        return Ok(Exit::Done);
    }
    if args.filtered.is_some() {
        let Page { items, next } = answer.parse()?;
        output.text(&told(&items));
        more(next.is_some(), output);
        return Ok(Exit::Done);
    }
    let view: UnroutedView = answer.parse()?;
    output.text(&told(&view.items));
    let names: Vec<String> = view.names.iter().map(|name| format!("{} {}", name.events, name.name)).collect();
    let names =
        if names.is_empty() { String::new() } else { format!("; of the newest: {}", names.join(", ")) };
    output.note(&clean_line(&format!("{} since the beginning{names}", plural(view.total, "event"))));
    more(view.next.is_some(), output);
    Ok(Exit::Done)
}

fn more(is_cut: bool, output: Output) {
    if is_cut {
        output.note("there are more: raise --limit, 500 at most");
    }
}

fn told(events: &[UnheardView]) -> String {
    let head = ["NUMBER", "NAME", "ID", "SOURCE", "KEY", "ACKNOWLEDGED", "FLOW"];
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|one| {
            let number = one.seq.to_string();
            [&number, &one.name, &one.id, &one.source, &one.key, &one.acknowledged, &one.flow]
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
    fn unheard_events_stand_in_columns() {
        let event = UnheardView {
            seq: 7,
            id: "o1".into(),
            source: "/http".into(),
            name: "order.lost".into(),
            key: String::new(),
            flow: "f".into(),
            acknowledged: "2026-03-01T08:00:00.000Z".into(),
        };

        assert_eq!(
            told(&[event]),
            "NUMBER  NAME        ID  SOURCE  KEY  ACKNOWLEDGED              FLOW\n\
             7       order.lost  o1  /http        2026-03-01T08:00:00.000Z  f"
        );
    }
}
