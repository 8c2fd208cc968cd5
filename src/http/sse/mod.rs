//! Sse: the progress of a flow as server-sent events.
//!
//! Every event and every attempt of the flow is one message, `status` tells where the flow stands after
//! them. The `id` of a message is the number of the commit that recorded it; it stands on the last message
//! of its commit only, so that a stream that breaks in between repeats the whole commit instead of losing
//! half of it. A client that comes back with `Last-Event-ID` gets what came after that commit, as far as
//! the store keeps attempts (the last ones of each delivery).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::Door;
use super::code::Code;
use super::problem::HttpError;
use super::request::header_text;
use super::status::is_final;
use crate::bus::Watch;
use crate::bus::view::{AttemptView, DeliveryView, FlowEventView, FlowView, StatusView};

/// How long changes are gathered before the flow is read again: a burst of them is one reading.
const GATHER: Duration = Duration::from_millis(20);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Answers with the stream of the flow that the event belongs to.
pub(super) async fn stream(
    request: &HttpRequest,
    door: &Door,
    source: String,
    id: String,
) -> Result<HttpResponse, HttpError> {
    let seen = match header_text(request, &LAST_EVENT_ID)?.filter(|text| !text.is_empty()) {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| HttpError::malformed("last-event-id", "is no number of a commit"))?
        }
    };
    let permit = Arc::clone(&door.streams).try_acquire_owned().map_err(|_| {
        let detail =
            format!("{} event streams are open, which is the limit; poll instead", door.settings.max_streams);
        HttpError::new(Code::Saturated, detail).with_retry_after(door.settings.heartbeat)
    })?;
    let view = door.bus.status(&source, &id).await?;
    let follower = Follower {
        watch: door.bus.watch(&view.flow),
        door: door.clone(),
        progress: Progress { source, id, name: view.name, seen, status: String::new() },
        flow: view.flow,
        quiet: Duration::ZERO,
        begun: false,
        ended: false,
        _permit: permit,
    };
    let messages = stream::unfold(follower, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), follower))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(messages))
}

/// One open stream.
struct Follower {
    door: Door,
    watch: Watch,
    progress: Progress,
    flow: String,
    /// How long nothing was sent.
    quiet: Duration,
    begun: bool,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next piece of the stream: changes, or a sign of life; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        if !self.begun {
            self.begun = true;
            return Some(format!("retry: {}\n\n", self.door.settings.retry_after.as_millis()));
        }
        while !self.ended {
            match self.door.bus.flow(&self.flow).await {
                Ok(view) => {
                    let text = self.progress.advance(&view);
                    self.ended = is_final(view.status);
                    if !text.is_empty() {
                        self.quiet = Duration::ZERO;
                        return Some(text);
                    }
                }
                // The client comes back and is told what is wrong with its next request.
                Err(error) => {
                    tracing::debug!(%error, "an event stream ends");
                    self.ended = true;
                }
            }
            if self.ended || self.door.closing.is_cancelled() {
                return None;
            }
            let heartbeat = self.door.settings.heartbeat;
            let pause = self.door.settings.look_again.min(heartbeat);
            tokio::select! {
                () = self.watch.changed() => tokio::time::sleep(GATHER).await,
                () = self.door.closing.cancelled() => return None,
                () = tokio::time::sleep(pause) => {
                    self.quiet += pause;
                    if self.quiet >= heartbeat {
                        self.quiet = Duration::ZERO;
                        return Some(": alive\n\n".to_owned());
                    }
                }
            }
        }
        None
    }
}

/// What a client has seen of a flow.
#[derive(Debug)]
struct Progress {
    source: String,
    id: String,
    name: String,
    seen: u64,
    status: String,
}

/// An event of the flow was acknowledged.
#[derive(Serialize)]
struct EventMessage<'a> {
    id: &'a str,
    source: &'a str,
    name: &'a str,
    causation: Option<&'a str>,
    time: &'a str,
}

/// The outcome of an attempt was recorded.
#[derive(Serialize)]
struct AttemptMessage<'a> {
    event: &'a str,
    source: &'a str,
    name: &'a str,
    subscription: &'a str,
    #[serde(flatten)]
    attempt: &'a AttemptView,
}

impl Progress {
    /// The messages for all that is new in `view`.
    fn advance(&mut self, view: &FlowView) -> String {
        let mut messages = Vec::new();
        // What is newer than the view's head comes with the next view, which has all of that commit.
        let is_new = |commit: u64| commit > self.seen && commit <= view.version;
        for event in &view.events {
            if is_new(event.commit) {
                messages.push((event.commit, "event", json(&event_message(event))));
            }
            for delivery in &event.deliveries {
                let news = delivery.history.iter().filter(|attempt| is_new(attempt.commit));
                messages.extend(news.map(|attempt| {
                    (attempt.commit, "attempt", json(&attempt_message(event, delivery, attempt)))
                }));
            }
        }
        messages.sort_by_key(|(commit, _, _)| *commit);
        let mut messages = VecDeque::from(messages);
        let mut text = String::new();
        while let Some((commit, kind, data)) = messages.pop_front() {
            let is_last =
                messages.front().is_none_or(|(next, _, _)| *next != commit) && commit < view.version;
            write_message(&mut text, is_last.then_some(commit), kind, &data);
        }
        let status = json(&self.status_of(view));
        if status != self.status {
            write_message(&mut text, Some(view.version), "status", &status);
            self.status = status;
        }
        self.seen = self.seen.max(view.version);
        text
    }

    /// The status of the event, read from its flow so that the two agree.
    fn status_of(&self, view: &FlowView) -> StatusView {
        let own = view.events.iter().find(|event| event.id == self.id && event.source == self.source);
        let without_history = |d: &DeliveryView| DeliveryView { history: Vec::new(), ..d.clone() };
        StatusView {
            id: self.id.clone(),
            source: self.source.clone(),
            name: self.name.clone(),
            flow: view.flow.clone(),
            status: view.status,
            result: view.result.clone(),
            open: view.open,
            dead: view.dead,
            deliveries: own
                .map_or(Vec::new(), |event| event.deliveries.iter().map(without_history).collect()),
            version: view.version,
            deadline: view.deadline.clone(),
            overdue: view.overdue,
        }
    }
}

fn event_message(event: &FlowEventView) -> EventMessage<'_> {
    let FlowEventView { id, source, name, causation, time, .. } = event;
    EventMessage { id, source, name, causation: causation.as_deref(), time }
}

fn attempt_message<'a>(
    event: &'a FlowEventView,
    delivery: &'a DeliveryView,
    attempt: &'a AttemptView,
) -> AttemptMessage<'a> {
    let FlowEventView { id, source, name, .. } = event;
    AttemptMessage { event: id, source, name, subscription: &delivery.subscription, attempt }
}

/// Views are plain data: writing them cannot fail.
fn json(view: &impl Serialize) -> String {
    serde_json::to_string(view).unwrap_or_default()
}

fn write_message(text: &mut String, id: Option<u64>, kind: &str, data: &str) {
    // Writing to a String cannot fail.
    let _infallible = id.map(|id| writeln!(text, "id: {id}"));
    let _infallible = writeln!(text, "event: {kind}");
    for line in data.split(['\n', '\r']) {
        let _infallible = writeln!(text, "data: {line}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests;
