//! CloudEvents 1.0 in and out: the structured and the batched JSON format, and the binary mode of HTTP.
//!
//! The media type says which of the three a request is; the attributes go through the same checks in all
//! of them, and every problem of an event is told at once. The payload is never turned into a tree: in
//! JSON its bytes are cut out of the body as they stand, in binary mode it is the body.
//!
//! The input is plain data (a media type, header pairs, a body): this room knows no HTTP library. What it
//! asks for beyond the specification: a `type` is an event name ([`EventName`](super::EventName)), and every
//! attribute has a limit.

mod attributes;
mod binary;
mod emit;
mod json;
mod structured;
mod values;

use bytes::Bytes;

use super::Draft;

pub use emit::to_structured;
pub use json::{DEPTH_MAX, check_json};
pub use values::{IDENTIFIER_MAX, MediaType, check_identifier, parse_time};

/// The most extension attributes one event may bear, those with a meaning of their own left aside.
pub const EXTENSIONS_MAX: usize = 64;
/// The most bytes the names and values of all extension attributes of an event may take together.
pub const EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// The most problems that one refusal lists.
pub const PROBLEMS_MAX: usize = 32;

/// What a request held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// One event, structured or binary.
    One(Box<Draft>),
    /// A batch; it may be empty.
    Batch(Vec<Draft>),
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The event is not well formed: 400.
    Malformed,
    /// The media type is none that is understood: 415.
    UnsupportedMediaType,
    /// The batch holds more events than are taken at once: 413.
    TooMany,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A JSON pointer into the body (`/2/source`), or the name of the header.
    pub pointer: String,
    /// What is wrong and what to write instead.
    pub detail: String,
}

/// A request that was refused, with all its problems (the first [`PROBLEMS_MAX`] of them).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct Refusal {
    /// What kind of refusal it is.
    pub class: Class,
    /// What is wrong; never empty.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// A refusal for one reason.
    pub fn new(class: Class, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { class, problems: vec![Problem { pointer: pointer.into(), detail: detail.into() }] }
    }

    fn malformed(mut problems: Vec<Problem>) -> Self {
        problems.truncate(PROBLEMS_MAX);
        Self { class: Class::Malformed, problems }
    }

    fn summary(&self) -> String {
        let shown: Vec<String> =
            self.problems
                .iter()
                .map(|p| {
                    if p.pointer.is_empty() {
                        p.detail.clone()
                    } else {
                        format!("{}: {}", p.pointer, p.detail)
                    }
                })
                .collect();
        shown.join("; ")
    }
}

/// Reads the events of a request.
///
/// `content_type` is the value of `Content-Type`; `headers` are all headers, of which those with the prefix
/// `ce-` are read in binary mode; a batch of more than `batch_max` events is refused.
///
/// # Errors
/// [`Refusal`] with every problem that was found; nothing of a batch is taken when one event is wrong.
pub fn receive<'h>(
    content_type: Option<&str>,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: &Bytes,
    batch_max: usize,
) -> Result<Received, Refusal> {
    let media = content_type.map(MediaType::parse);
    let essence = media.as_ref().map_or("", |m| m.essence.as_str());
    if let Some(format) = essence.strip_prefix("application/cloudevents-batch") {
        check_format(format, media.as_ref())?;
        return structured::batch(body, batch_max).map(Received::Batch);
    }
    if let Some(format) = essence.strip_prefix("application/cloudevents") {
        check_format(format, media.as_ref())?;
        return structured::one(body).map(|draft| Received::One(Box::new(draft)));
    }
    match binary::one(content_type, headers, body) {
        Some(parsed) => parsed.map(|draft| Received::One(Box::new(draft))),
        None => Err(unsupported(&match content_type {
            Some(given) => format!("`{}` without `ce-` headers is no CloudEvent", shorten(given)),
            None => "the request has neither a `Content-Type` nor `ce-` headers".to_owned(),
        })),
    }
}

/// Whether the rest of the media type names the JSON format in UTF-8.
fn check_format(format: &str, media: Option<&MediaType>) -> Result<(), Refusal> {
    if format != "+json" {
        return Err(unsupported(&format!("the event format `{}` is not known", shorten(format))));
    }
    match media.and_then(|m| m.charset.as_deref()) {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(()),
        Some(other) => Err(unsupported(&format!("JSON is UTF-8, not `{}`", shorten(other)))),
    }
}

fn unsupported(what: &str) -> Refusal {
    let remedy =
        "send `application/cloudevents+json`, `application/cloudevents-batch+json`, or `ce-` headers";
    Refusal::new(Class::UnsupportedMediaType, "content-type", format!("{what}; {remedy}"))
}

/// A part of what came in that is short enough to be shown.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
