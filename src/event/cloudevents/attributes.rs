//! The attributes of one event on their way to a draft, with every problem noted.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::values::{
    check_identifier, check_media_type, check_text, check_uri, check_uri_reference, parse_time,
};
use super::{EXTENSION_BYTES_MAX, EXTENSIONS_MAX, Problem};
use crate::event::{Draft, EventName, Timestamp};

/// Where the attributes stand, for the pointers of the problems.
#[derive(Debug)]
pub(super) enum Place {
    /// Members of an object, found under this JSON pointer.
    Members(String),
    /// Headers with the prefix `ce-`.
    Headers,
}

/// Collects attributes; [`Attributes::finish`] makes the draft.
#[derive(Debug)]
pub(super) struct Attributes {
    place: Place,
    problems: Vec<Problem>,
    version: Option<String>,
    id: Option<String>,
    source: Option<String>,
    name: Option<EventName>,
    subject: Option<String>,
    time: Option<Timestamp>,
    key: Option<String>,
    flow: Option<String>,
    causation: Option<String>,
    due: Option<Timestamp>,
    traceparent: Option<String>,
    content_type: Option<String>,
    schema: Option<String>,
    extensions: BTreeMap<String, String>,
    extension_bytes: usize,
}

impl Attributes {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            problems: Vec::new(),
            version: None,
            id: None,
            source: None,
            name: None,
            subject: None,
            time: None,
            key: None,
            flow: None,
            causation: None,
            due: None,
            traceparent: None,
            content_type: None,
            schema: None,
            extensions: BTreeMap::new(),
            extension_bytes: 0,
        }
    }

    /// Takes the attribute `name`, or notes what is wrong with it.
    pub(super) fn set(&mut self, name: &str, value: String) {
        if let Err(detail) = self.take(name, value) {
            self.refuse(name, detail);
        }
    }

    /// Notes a problem with the attribute `name`.
    pub(super) fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = self.pointer(name);
        self.problems.push(Problem { pointer, detail: detail.into() });
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The draft, or all problems.
    pub(super) fn finish(mut self, data: Bytes) -> Result<Draft, Vec<Problem>> {
        let present = [
            ("specversion", self.version.is_some()),
            ("id", self.id.is_some()),
            ("source", self.source.is_some()),
            ("type", self.name.is_some()),
        ];
        for (name, _) in present.into_iter().filter(|(_, is_present)| !is_present) {
            let pointer = self.pointer(name);
            if self.problems.iter().all(|p| p.pointer != pointer) {
                self.refuse(name, format!("the required attribute `{name}` is missing"));
            }
        }
        let (Some(source), Some(name), true) = (self.source, self.name, self.problems.is_empty()) else {
            return Err(self.problems);
        };
        Ok(Draft {
            id: self.id,
            source,
            name,
            subject: self.subject,
            time: self.time,
            key: self.key,
            flow: self.flow,
            causation: self.causation,
            due: self.due,
            traceparent: self.traceparent,
            content_type: self.content_type,
            schema: self.schema,
            extensions: self.extensions,
            data,
        })
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), String> {
        check_name(name)?;
        check_text(&value)?;
        match name {
            "specversion" => put(&mut self.version, check_version(value)?),
            "id" => put(&mut self.id, checked(value, check_identifier)?),
            "source" => {
                check_identifier(&value)?;
                put(&mut self.source, checked(value, check_uri_reference)?)
            }
            "type" => put(&mut self.name, EventName::new(&value).map_err(|e| e.to_string())?),
            "subject" => put(&mut self.subject, checked(value, check_identifier)?),
            "time" => put(&mut self.time, parse_time(&value)?),
            "datacontenttype" => put(&mut self.content_type, checked(value, check_media_type)?),
            "dataschema" => {
                check_identifier(&value)?;
                put(&mut self.schema, checked(value, check_uri)?)
            }
            "partitionkey" => put(&mut self.key, checked(value, check_identifier)?),
            "correlationid" => put(&mut self.flow, checked(value, check_identifier)?),
            "causationid" => put(&mut self.causation, checked(value, check_identifier)?),
            "traceparent" => put(&mut self.traceparent, checked(value, check_identifier)?),
            "deliverat" => put(&mut self.due, parse_time(&value)?),
            other => self.extend(other, value),
        }
    }

    fn extend(&mut self, name: &str, value: String) -> Result<(), String> {
        if self.extensions.contains_key(name) {
            return Err(TWICE.to_owned());
        }
        self.extension_bytes += name.len() + value.len();
        if self.extensions.len() == EXTENSIONS_MAX {
            return Err(format!("is one extension attribute too many; the limit is {EXTENSIONS_MAX}"));
        }
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(format!("takes the extension attributes over {EXTENSION_BYTES_MAX} bytes"));
        }
        self.extensions.insert(name.to_owned(), value);
        Ok(())
    }

    fn pointer(&self, name: &str) -> String {
        match &self.place {
            Place::Members(prefix) => {
                format!("{prefix}/{}", super::shorten(name).replace('~', "~0").replace('/', "~1"))
            }
            Place::Headers => format!("ce-{}", super::shorten(name)),
        }
    }
}

pub(super) const TWICE: &str = "is given twice";

fn put<T>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(TWICE.to_owned()),
    }
}

fn checked(value: String, check: impl Fn(&str) -> Result<(), String>) -> Result<String, String> {
    check(&value).map(|()| value)
}

fn check_version(value: String) -> Result<String, String> {
    if value == "1.0" {
        return Ok(value);
    }
    Err(format!("the version `{}` is not known; this bus speaks CloudEvents `1.0`", super::shorten(&value)))
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err("is no attribute name; names are of `a-z` and `0-9`".to_owned());
    }
    if name == "data" {
        return Err("`data` is no attribute: in binary mode the body is the data".to_owned());
    }
    Ok(())
}
