//! Where every key stands: in which file at which line, in which variable, in which flag.
//!
//! The layering crate's errors have a key but no line, so each file is parsed here first, and every
//! key's place is kept by its path. A path in several layers has several spots; the last one is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem};

/// One source of settings.
#[derive(Debug)]
pub(super) struct Layer {
    /// The file's path, the variable's name, or the flag.
    pub(super) origin: String,
    /// Its place in the order of layers.
    pub(super) rank: u8,
    /// The file's text; nothing for a variable or a flag.
    pub(super) text: Option<String>,
}

/// What kind of value stands somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A table.
    Table,
    /// An array.
    Array,
    /// A single value in a file.
    Scalar,
    /// The text of a variable or a flag, which may stand for any kind of value.
    Text,
}

/// One key in one layer.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    layer: Arc<Layer>,
    key: Range<usize>,
    value: Range<usize>,
    pub(super) kind: Kind,
}

impl Spot {
    /// Whether it comes from a file, not from a variable or a flag.
    pub(super) fn is_file(&self) -> bool {
        self.layer.text.is_some()
    }

    /// The variable's name or the flag, when it comes from there.
    pub(super) fn outside(&self) -> Option<&str> {
        (!self.is_file()).then_some(self.layer.origin.as_str())
    }

    /// The value itself, when it is in a file and no table.
    pub(super) fn model(&self) -> Option<toml::Value> {
        let text = self.layer.text.as_deref().filter(|_| self.kind != Kind::Table)?;
        text.get(self.value.clone())?.parse().ok()
    }

    /// Where the key is.
    pub(super) fn at_key(&self) -> Place {
        self.layer.place(&self.key)
    }

    /// Where the value is; of a table, where its key is.
    pub(super) fn at_value(&self) -> Place {
        if self.kind == Kind::Table { self.at_key() } else { self.layer.place(&self.value) }
    }
}

impl Layer {
    /// The line and column of a byte range, the line and how much of it is meant.
    fn place(&self, range: &Range<usize>) -> Place {
        let whole = Place::whole(self.origin.clone(), self.rank);
        let Some(text) = &self.text else { return whole };
        let before = text.get(..range.start.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(line_start..).unwrap_or_default();
        let excerpt = rest.lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let marked = text.get(range.clone()).unwrap_or_default().lines().next().unwrap_or_default();
        Place {
            line: Some(before.matches('\n').count() + 1),
            column: Some(column),
            excerpt: Some(excerpt.trim_end().to_owned()),
            width: marked.chars().count(),
            ..whole
        }
    }
}

/// The places of all keys of all layers.
///
/// Where a setting stood says nothing about what it is: any two are equal, so that settings from
/// different files compare by their values.
#[derive(Debug, Clone, Default)]
pub struct Places(BTreeMap<Vec<String>, Vec<Spot>>);

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Places {
    /// Parses a file and takes its keys in.
    ///
    /// All syntax errors of the file are returned; its keys are taken in only when there are none.
    pub(super) fn add_file(&mut self, origin: String, rank: u8, text: String) -> Vec<Problem> {
        let layer = Arc::new(Layer { origin, rank, text: Some(text) });
        let text = layer.text.as_deref().unwrap_or_default();
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| {
                let place = layer.place(&error.span().unwrap_or(0..0));
                Problem::error(place, format!("not valid TOML: {}", error.message().replace('\n', ", ")))
            })
            .collect();
        // What follows an error in its line mostly follows from it.
        problems.dedup_by_key(|problem| problem.place.line);
        if problems.is_empty() {
            self.walk(&layer, &mut Vec::new(), table.get_ref(), &mut problems);
        }
        problems
    }

    /// Takes the path of a variable or a flag in, and the tables on the way to it.
    pub(super) fn add_outside(&mut self, origin: &str, rank: u8, path: &[String]) {
        let layer = Arc::new(Layer { origin: origin.to_owned(), rank, text: None });
        for length in 1..=path.len() {
            let kind = if length == path.len() { Kind::Text } else { Kind::Table };
            let spot = Spot { layer: Arc::clone(&layer), key: 0..0, value: 0..0, kind };
            self.0.entry(path.iter().take(length).cloned().collect()).or_default().push(spot);
        }
    }

    fn walk(
        &mut self,
        layer: &Arc<Layer>,
        path: &mut Vec<String>,
        table: &DeTable<'_>,
        out: &mut Vec<Problem>,
    ) {
        for (key, value) in table {
            path.push(key.get_ref().clone().into_owned());
            self.note(layer, path, key.span(), value, out);
            path.pop();
        }
    }

    fn note(
        &mut self,
        layer: &Arc<Layer>,
        path: &mut Vec<String>,
        key: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        out: &mut Vec<Problem>,
    ) {
        let kind = match value.get_ref() {
            DeValue::Table(_) => Kind::Table,
            DeValue::Array(_) => Kind::Array,
            DeValue::Integer(number) => {
                if i64::from_str_radix(number.as_str(), number.radix()).is_err() {
                    let place = layer.place(&value.span());
                    out.push(Problem::error(place, "the number is too large for 64 bits"));
                }
                Kind::Scalar
            }
            DeValue::String(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                Kind::Scalar
            }
        };
        let spot = Spot { layer: Arc::clone(layer), key, value: value.span(), kind };
        self.0.entry(path.clone()).or_default().push(spot);
        match value.get_ref() {
            DeValue::Table(table) => self.walk(layer, path, table, out),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.note(layer, path, item.span(), item, out);
                    path.pop();
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    /// Every layer's spot of a path, the one in force last.
    pub(super) fn spots(&self, path: &[String]) -> &[Spot] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }

    /// Whether the value in force is the text of a variable or a flag.
    pub(super) fn is_text(&self, path: &[String]) -> bool {
        self.spots(path).last().is_some_and(|spot| spot.kind == Kind::Text)
    }

    /// The names directly below a path, in any layer.
    pub(super) fn children(&self, path: &[String]) -> BTreeSet<&str> {
        self.0
            .range(path.to_vec()..)
            .take_while(|(known, _)| known.starts_with(path))
            .filter(|(known, _)| known.len() == path.len() + 1)
            .filter_map(|(known, _)| known.last().map(String::as_str))
            .collect()
    }

    /// Where the value in force of a path is; the nearest table above it when it stands nowhere.
    pub(super) fn of(&self, path: &[String]) -> Place {
        let mut path = path;
        while !path.is_empty() {
            let spots = self.spots(path);
            // A table may be in many layers: its place is where a person wrote it down.
            let table = spots.iter().rfind(|spot| spot.kind == Kind::Table && spot.is_file());
            let last = spots.last();
            let meant = if last.is_some_and(|spot| spot.kind == Kind::Table) { table.or(last) } else { last };
            if let Some(spot) = meant {
                return spot.at_value();
            }
            path = path.split_last().map_or(&[], |(_, above)| above);
        }
        Place::wiring()
    }
}
