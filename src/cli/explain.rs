//! `explain`: why an event does not move.

use super::args::ExplainArgs;
use super::client::{Client, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, Tone, clean_line};
use crate::bus::ExplainView;

/// Asks the server and prints the sentence, then a line for each delivery.
pub(super) fn explain(args: &ExplainArgs, output: Output) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let path = format!("/v1/explain/{}?source={}", encoded(&args.id), encoded(&args.source));
    let answer = client.get(&path, None)?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&told(&answer.parse::<ExplainView>()?, output));
    }
    Ok(Exit::Done)
}

fn told(view: &ExplainView, output: Output) -> String {
    let paint = output.paint;
    let mut lines = vec![paint.tint(Tone::Strong, &clean_line(&view.sentence))];
    for cause in &view.causes {
        let subscription = cause.subscription.as_deref().unwrap_or("the event");
        let word = serde_json::to_value(cause.cause).ok();
        let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().replace('_', " ");
        let of = cause.event.as_ref().map(|event| format!("  of {} {}", event.name, event.id));
        lines.push(format!("  {}  {word}{}", clean_line(subscription), clean_line(&of.unwrap_or_default())));
        let facts = cause.facts.as_object().into_iter().flatten().filter(|(_, fact)| !fact.is_null());
        for (name, fact) in facts {
            let fact = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
            lines.push(
                paint.tint(Tone::Faint, &format!("    {} {}", name.replace('_', " "), clean_line(&fact))),
            );
        }
    }
    if !view.flow.is_empty() {
        let hint = format!("everything that happened: tidegate flow {}", clean_line(&view.flow));
        lines.push(paint.tint(Tone::Faint, &hint));
    }
    lines.join("\n")
}
