//! Lines: where many events come from, and what each line becomes.

use std::io::{self, BufRead, BufReader};

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::args::PublishArgs;
use super::failure::Failure;
use crate::clock::Clock;

/// One line, or one filled template.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1; blank lines count but do not come.
    pub(super) number: u64,
    /// What is in it.
    pub(super) text: Vec<u8>,
    /// How far it brings the progress bar.
    pub(super) weight: u64,
}

/// Where lines come from.
pub(super) enum Lines {
    /// A file or standard input.
    Reader {
        /// What is read.
        reader: Box<dyn BufRead + Send>,
        /// The number of the last line.
        number: u64,
        /// All bytes, when they can be known before.
        size: Option<u64>,
    },
    /// A template, filled again and again.
    Template {
        /// The template.
        template: Template,
        /// The number of the last one.
        number: u64,
        /// How many.
        count: u64,
    },
}

impl Lines {
    /// Opens what the arguments name: DATA as a template with `--count`, `@FILE`, else standard input.
    ///
    /// # Errors
    /// [`Failure::Usage`] when it cannot be opened.
    pub(super) fn open(args: &PublishArgs) -> Result<Self, Failure> {
        let data = args.data.as_deref();
        if let Some(count) = args.count {
            return Ok(Self::Template {
                template: Template::parse(data.unwrap_or_default()),
                number: 0,
                count,
            });
        }
        match data {
            None | Some("-") => {
                Ok(Self::Reader { reader: Box::new(BufReader::new(io::stdin())), number: 0, size: None })
            }
            Some(data) => {
                let path = data.strip_prefix('@').unwrap_or(data);
                let hint = if data.starts_with('@') {
                    ""
                } else {
                    "; with --lines DATA is @FILE or - for standard input"
                };
                let failed =
                    |error: io::Error| Failure::Usage(format!("cannot read {path:?}: {error}{hint}"));
                let file = std::fs::File::open(path).map_err(failed)?;
                let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|known| known.len());
                Ok(Self::Reader { reader: Box::new(BufReader::new(file)), number: 0, size })
            }
        }
    }

    /// The sum of all weights, when it is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::Reader { size, .. } => *size,
            Self::Template { count, .. } => Some(*count),
        }
    }

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// What reading says.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        match self {
            Self::Reader { reader, number, .. } => {
                let mut skipped = 0;
                loop {
                    let mut text = Vec::new();
                    let weight = skipped + reader.read_until(b'\n', &mut text)? as u64;
                    if text.is_empty() {
                        return Ok(None);
                    }
                    *number += 1;
                    if !text.trim_ascii().is_empty() {
                        return Ok(Some(Line { number: *number, text, weight }));
                    }
                    skipped = weight;
                }
            }
            Self::Template { number, count, .. } if number == count => Ok(None),
            Self::Template { template, number, .. } => {
                *number += 1;
                Ok(Some(Line { number: *number, text: template.fill(*number).into_bytes(), weight: 1 }))
            }
        }
    }
}

/// A text with places for a number: `{i}` and `{i%M}`. Every other brace stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Number,
    Remainder(u64),
}

impl Template {
    /// Reads a template; every text is one.
    pub(super) fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{i") {
            plain.push_str(before);
            let place = match after.split_once('}') {
                Some(("", behind)) => Some((Piece::Number, behind)),
                Some((inside, behind)) => inside
                    .strip_prefix('%')
                    .and_then(|modulus| modulus.parse().ok())
                    .filter(|modulus| *modulus > 0)
                    .map(|modulus| (Piece::Remainder(modulus), behind)),
                None => None,
            };
            if let Some((piece, behind)) = place {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.push(piece);
                rest = behind;
            } else {
                plain.push_str("{i");
                rest = after;
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Self(pieces)
    }

    /// The text for one number.
    pub(super) fn fill(&self, number: u64) -> String {
        self.0.iter().fold(String::new(), |mut text, piece| {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Number => text.push_str(&number.to_string()),
                Piece::Remainder(modulus) => text.push_str(&(number % modulus).to_string()),
            }
            text
        })
    }
}

/// What makes an event of a line.
#[derive(Debug, Clone)]
pub(super) struct Recipe<'a> {
    /// The event's name.
    pub(super) name: &'a str,
    /// Its source.
    pub(super) source: &'a str,
    /// Its id, where it is the same for all (that is, where there is one event).
    pub(super) id: Option<&'a str>,
    /// Its key, where it is the same for all.
    pub(super) key: Option<&'a str>,
    /// The field that holds the id.
    pub(super) id_field: Option<&'a str>,
    /// The field that holds the key.
    pub(super) key_field: Option<&'a str>,
    /// When it is to be delivered.
    pub(super) due: Option<String>,
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliverat: Option<&'a str>,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

impl<'a> Recipe<'a> {
    /// The recipe that the arguments give.
    pub(super) fn of(args: &'a PublishArgs) -> Self {
        Self {
            name: args.name.as_str(),
            source: &args.source,
            id: args.id.as_deref(),
            key: args.key.as_deref(),
            id_field: args.id_field.as_deref(),
            key_field: args.key_field.as_deref(),
            due: args.at.clone().or_else(|| args.after.map(|by| Clock::wall().now().plus(by).to_string())),
        }
    }

    /// The event as structured JSON, the data byte for byte as it was written.
    ///
    /// Without an id it gets one here, not at the server: so it can be sent again without being stored twice.
    ///
    /// # Errors
    /// A message when the data is no JSON, or has not the fields that were asked for.
    pub(super) fn event(&self, data: &[u8]) -> Result<String, String> {
        let data: &RawValue =
            serde_json::from_slice(data).map_err(|error| format!("the data is no JSON: {error}"))?;
        let (mut id, mut key) = (self.id.map(str::to_owned), self.key.map(str::to_owned));
        if self.id_field.is_some() || self.key_field.is_some() {
            let value: Value = serde_json::from_str(data.get()).map_err(|error| error.to_string())?;
            id = self.id_field.map(|name| field(&value, name)).transpose()?.or(id);
            key = self.key_field.map(|name| field(&value, name)).transpose()?.or(key);
        }
        let id = id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let event = CloudEvent {
            specversion: "1.0",
            id: &id,
            source: self.source,
            name: self.name,
            partitionkey: key.as_deref(),
            deliverat: self.due.as_deref(),
            datacontenttype: "application/json",
            data,
        };
        serde_json::to_string(&event).map_err(|error| error.to_string())
    }
}

/// A field of an object as text: by its name, or by a JSON pointer.
fn field(value: &Value, name: &str) -> Result<String, String> {
    let found = if name.starts_with('/') { value.pointer(name) } else { value.get(name) };
    match found {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(format!("the field `{name}` holds neither a text nor a number")),
        None => Err(format!("the data has no field `{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: Recipe<'static> = Recipe {
        name: "order.placed",
        source: "/http",
        id: None,
        key: None,
        id_field: Some("order"),
        key_field: Some("/who/account"),
        due: None,
    };

    #[test]
    fn a_template_counts_and_takes_remainders_and_leaves_json_braces_alone() {
        let cases = [
            (r#"{"order":"o{i}","account":"a{i%10}"}"#, r#"{"order":"o123","account":"a3"}"#),
            (r#"{"name":{"i":1}}"#, r#"{"name":{"i":1}}"#),
            ("{i}{i}", "123123"),
            ("{i", "{i"),
            ("{i%0}{i%x}{in}{i}", "{i%0}{i%x}{in}123"),
            ("", ""),
        ];
        for (template, expected) in cases {
            assert_eq!(Template::parse(template).fill(123), expected, "{template}");
        }
    }

    #[test]
    fn lines_keep_their_numbers_over_blank_ones_and_an_end_without_a_line_break() {
        let text: &[u8] = b"{\"a\":1}\n\n  \n{\"a\":2}\r\nlast";
        let mut lines = Lines::Reader { reader: Box::new(text), number: 0, size: Some(text.len() as u64) };

        let mut read = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            read.push(line);
        }

        assert_eq!(read.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 4, 5]);
        assert_eq!(read.iter().map(|line| line.weight).sum::<u64>(), text.len() as u64);
        assert_eq!(read[2].text, b"last");
    }

    #[test]
    fn a_template_ends_after_its_count() {
        let mut lines = Lines::Template { template: Template::parse("{i}"), number: 0, count: 2 };

        let texts: Vec<_> = std::iter::from_fn(|| lines.next().unwrap()).map(|line| line.text).collect();

        assert_eq!(texts, [b"1", b"2"]);
        assert_eq!(lines.total(), Some(2));
    }

    #[test]
    fn id_and_key_come_from_fields_and_the_data_stays_as_it_was_written() {
        let data = br#" {"order": 7.0,  "who":{"account":"a1"}} "#;

        let event = RECIPE.event(data).unwrap();

        assert_eq!(
            event,
            r#"{"specversion":"1.0","id":"7.0","source":"/http","type":"order.placed","partitionkey":"a1","datacontenttype":"application/json","data":{"order": 7.0,  "who":{"account":"a1"}}}"#
        );
    }

    #[test]
    fn a_line_that_makes_no_event_says_why() {
        let cases: [(&[u8], &str); 5] = [
            (b"{\"order\":", "is no JSON"),
            (b"\xff", "is no JSON"),
            (br#"{"who":{"account":"a"}}"#, "no field `order`"),
            (br#"{"order":{},"who":{"account":"a"}}"#, "`order` holds neither"),
            (br#"{"order":"o1"}"#, "no field `/who/account`"),
        ];
        for (data, expected) in cases {
            let message = RECIPE.event(data).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn an_event_without_an_id_gets_one_that_stays() {
        let recipe = Recipe { id_field: None, key_field: None, ..RECIPE };

        let (one, other) = (recipe.event(b"{}").unwrap(), recipe.event(b"{}").unwrap());

        assert_ne!(one, other);
        let id = serde_json::from_str::<Value>(&one).unwrap()["id"].as_str().map(str::len);
        assert_eq!(id, Some(36));
    }
}
