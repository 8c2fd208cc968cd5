//! `cancel-flow`: has a flow undone.

use serde::Deserialize;

use super::args::CancelFlowArgs;
use super::client::{Client, JSON, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, clean_line};
use super::tree;
use crate::bus::view::FlowStatus;

/// The server's answer.
#[derive(Debug, Deserialize)]
struct Cancelled {
    flow: String,
    status: FlowStatus,
}

/// Runs the command.
pub(super) fn cancel_flow(args: &CancelFlowArgs, output: Output) -> Result<Exit, Failure> {
    cancel(&Client::new(&args.server)?, &args.flow, &args.reason, output)
}

fn cancel(client: &Client, flow: &str, reason: &str, output: Output) -> Result<Exit, Failure> {
    let body = serde_json::json!({ "reason": reason }).to_string();
    let answer = client.post(&format!("/v1/flows/{}/cancel", encoded(flow)), JSON, &body)?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        let cancelled: Cancelled = answer.parse()?;
        let flow = clean_line(&cancelled.flow);
        let word = tree::word_of(cancelled.status, output.paint);
        output.text(&format!("flow {flow}  {word}\nwhat is undone of it: tidegate flow {flow}"));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake;

    #[test]
    fn a_cancel_tells_why_and_a_refusal_is_no() {
        let client = fake::client(&fake::serve(|request| {
            assert_eq!(request.body, r#"{"reason":"ordered twice"}"#);
            match request.path.as_str() {
                "/v1/flows/f%2F1/cancel" => {
                    fake::json(200, &serde_json::json!({ "flow": "f/1", "status": "compensating" }))
                }
                _ => fake::problem(409, "past its point of no return"),
            }
        }));
        let run = |flow| cancel(&client, flow, "ordered twice", Output::new(true, true));

        assert_eq!(run("f/1").unwrap(), Exit::Done);
        assert_eq!(run("f2").unwrap_err().exit(), Exit::No);
    }
}
