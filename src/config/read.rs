//! Reading one table: each key is asked for with its type, its bounds and its default; what nobody
//! has asked for is unknown.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Value;

use super::problem::{Place, Problem, Problems, suggestion};
use super::refusal::{Refusal, but};
use super::spans::{Kind, Places};
use super::units::{DURATION_FORM, SIZE_FORM, parse_duration, parse_size};

/// All layers merged, and what was found wrong so far.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) places: &'a Places,
    pub(super) problems: RefCell<Problems>,
    /// Whether every file could be parsed; if not, what seems to be missing may well be there.
    pub(super) is_complete: bool,
}

/// One table being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: Vec<String>,
    table: Option<&'a toml::Table>,
    known: Vec<&'static str>,
    is_table: bool,
}

impl Reader<'_> {
    /// Notes a problem.
    pub(super) fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }
}

impl<'a> Section<'a> {
    /// The table of all tables.
    pub(super) fn root(reader: &'a Reader<'a>, table: &'a toml::Table) -> Self {
        Self { reader, path: Vec::new(), table: Some(table), known: Vec::new(), is_table: true }
    }

    /// A table below this one; when it is missing, every key of it is.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        self.known.push(key);
        self.child(key)
    }

    /// A table below this one whose name is free.
    pub(super) fn child(&self, key: &str) -> Self {
        let path = self.path_of(key);
        let mut is_table = true;
        for spot in self.reader.places.spots(&path) {
            if spot.kind != Kind::Table {
                is_table = false;
                let message = format!("`{}` must be a table", path.join("."));
                let help = format!("write [{}] and its keys below it", path.join("."));
                self.reader.note(Problem::error(spot.at_value(), message).with_help(help));
            }
        }
        let table = self.table.and_then(|table| table.get(key)).and_then(Value::as_table);
        Self { reader: self.reader, path, table, known: Vec::new(), is_table }
    }

    /// The names directly below this table, in any layer.
    pub(super) fn names(&self) -> Vec<&'a str> {
        self.reader.places.children(&self.path).into_iter().collect()
    }

    /// Whether it is a table in every layer that has it; anything else has been refused already.
    pub(super) fn is_table(&self) -> bool {
        self.is_table
    }

    /// The merged table itself.
    pub(super) fn values(&self) -> Option<&'a toml::Table> {
        self.table
    }

    /// The path of a key of this table.
    pub(super) fn path_of(&self, key: &str) -> Vec<String> {
        self.path.iter().cloned().chain([key.to_owned()]).collect()
    }

    /// Where the value in force of a key is.
    pub(super) fn place(&self, key: &str) -> Place {
        self.reader.places.of(&self.path_of(key))
    }

    /// Whether any layer has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        !self.reader.places.spots(&self.path_of(key)).is_empty()
    }

    /// Notes an error at a key.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        self.reader.note(Problem::error(self.place(key), message).with_help(help));
    }

    /// The dotted name of a key, for messages.
    pub(super) fn dotted(&self, key: &str) -> String {
        self.path_of(key).join(".")
    }

    /// Reads a key; `None` when it is missing or was refused.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value, bool) -> Result<T, Refusal>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.table?.get(key)?;
        match read(value, self.reader.places.is_text(&self.path_of(key))) {
            Ok(value) => Some(value),
            Err(refusal) => {
                let message = format!("`{}` must be {}", self.dotted(key), refusal.must);
                let mut problem = Problem::error(self.place(key), message);
                problem.help = refusal.help;
                self.reader.note(problem);
                None
            }
        }
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.read(key, |value, _| match value.as_str() {
            Some("") => Err(Refusal::must("a text that is not empty")),
            Some(text) => Ok(text.to_owned()),
            None => Err(Refusal::must(format!("a text, {}", but(value))).help("put it in quotes")),
        })
    }

    /// A text that something else parses; the error is its message.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        key: &'static str,
        kind: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.read(key, |value, _| {
            let text = value.as_str().ok_or_else(|| Refusal::must(format!("{kind}, {}", but(value))))?;
            parse(text).map_err(|error| Refusal::must(kind).help(error.to_string()))
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        self.read(key, |value, _| {
            let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
            let Some(text) = value.as_str() else {
                return Err(Refusal::must(format!("{list}, {}", but(value))));
            };
            words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant).ok_or_else(|| {
                let hint = suggestion(text, "words", words.iter().map(|(word, _)| *word));
                Refusal::must(format!("{list}, not \"{text}\"")).help(hint)
            })
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, |value, is_text| {
            let parsed = if is_text { value.as_str().and_then(|t| t.parse().ok()) } else { value.as_bool() };
            parsed
                .ok_or_else(|| Refusal::must(format!("true or false, {}", but(value))).help("without quotes"))
        })
        .unwrap_or(default)
    }

    /// A whole number within bounds.
    pub(super) fn whole<T>(&mut self, key: &'static str, default: T, bounds: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
    {
        self.read(key, |value, is_text| {
            let number =
                if is_text { value.as_str().and_then(|t| t.parse().ok()) } else { value.as_integer() };
            let must = format!("a whole number from {} to {}", bounds.start(), bounds.end());
            number
                .and_then(|number| T::try_from(number).ok())
                .filter(|number| bounds.contains(number))
                .ok_or_else(|| Refusal::must(format!("{must}, {}", but(value))))
        })
        .unwrap_or(default)
    }

    /// A number within bounds; a whole one will do.
    pub(super) fn number(&mut self, key: &'static str, default: f64, bounds: RangeInclusive<f64>) -> f64 {
        self.read(key, |value, is_text| {
            let text = value.as_str().filter(|_| is_text).and_then(|text| text.parse().ok());
            // From a whole number through its text: exact for every number that is within bounds.
            let whole = value.as_integer().and_then(|number| number.to_string().parse().ok());
            let must = format!("a number from {} to {}", bounds.start(), bounds.end());
            text.or(whole)
                .or(value.as_float())
                .filter(|number| bounds.contains(number))
                .ok_or_else(|| Refusal::must(format!("{must}, {}", but(value))))
        })
        .unwrap_or(default)
    }

    /// A duration of at least `least`.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration, least: Duration) -> Duration {
        self.read(key, |value, _| {
            let form = || Refusal::must(format!("a duration, {}", but(value))).help(DURATION_FORM);
            let duration = value.as_str().and_then(|text| parse_duration(text).ok()).ok_or_else(form)?;
            if duration < least {
                return Err(Refusal::must(format!("at least {}ms, {}", least.as_millis(), but(value))));
            }
            Ok(duration)
        })
        .unwrap_or(default)
    }

    /// A size in bytes of at least `least`.
    pub(super) fn size<T: TryFrom<u64> + Copy>(&mut self, key: &'static str, default: T, least: u64) -> T {
        self.read(key, |value, _| {
            let form = || Refusal::must(format!("a size, {}", but(value))).help(SIZE_FORM);
            let bytes = value.as_str().and_then(|text| parse_size(text).ok()).ok_or_else(form)?;
            if bytes < least {
                return Err(Refusal::must(format!("at least {least} bytes, {}", but(value))));
            }
            T::try_from(bytes).map_err(|_| form())
        })
        .unwrap_or(default)
    }

    /// A list of texts; from a variable or a flag, separated by commas.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.read(key, |value, is_text| {
            let must =
                || Refusal::must(format!("a list of texts, {}", but(value))).help("write [\"a.b\", \"c.d\"]");
            if let Some(text) = value.as_str().filter(|_| is_text) {
                return Ok(text.split(',').map(|entry| entry.trim().to_owned()).collect());
            }
            let items = value.as_array().ok_or_else(must)?;
            items.iter().map(|item| item.as_str().map(ToOwned::to_owned).ok_or_else(must)).collect()
        })
    }

    /// Refuses every key that was not asked for, wherever it stands.
    pub(super) fn finish(self) {
        if !self.is_table {
            return;
        }
        for name in self.names() {
            if !self.known.contains(&name) {
                self.unknown(name, &self.known);
            }
        }
    }

    /// Refuses a key in every layer that has it.
    pub(super) fn unknown(&self, name: &str, known: &[&str]) {
        let dotted = self.path.join(".");
        for spot in self.reader.places.spots(&self.path_of(name)) {
            let what = if spot.kind == Kind::Table { "table" } else { "key" };
            let within = if dotted.is_empty() { String::new() } else { format!(" in [{dotted}]") };
            let message = match spot.outside() {
                Some(_) => format!("names {what} `{name}`{within}, which does not exist"),
                None => format!("unknown {what} `{name}`{within}"),
            };
            let help =
                suggestion(name, if dotted.is_empty() { "tables" } else { "keys" }, known.iter().copied());
            self.reader.note(Problem::error(spot.at_key(), message).with_help(help));
        }
    }
}
