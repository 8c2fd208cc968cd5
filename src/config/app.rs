//! The application's own tables: handed through, except that a variable's text takes the kind of the
//! value it replaces.

use toml::Value;

use super::problem::{Problem, suggestion};
use super::read::{Reader, Section};
use super::spans::Spot;

/// The tables below `app`, merged; every key of them must be in a file.
pub(super) fn tables(reader: &Reader<'_>, app: &Section<'_>) -> toml::Table {
    let mut tables = app.values().cloned().unwrap_or_default();
    for (name, value) in &mut tables {
        settle(reader, &mut app.path_of(name), value);
    }
    tables
}

fn settle(reader: &Reader<'_>, path: &mut Vec<String>, value: &mut Value) {
    if let Value::Table(table) = value {
        for (name, value) in table.iter_mut() {
            path.push(name.clone());
            settle(reader, path, value);
            path.pop();
        }
        return;
    }
    if !reader.places.is_text(path) {
        return;
    }
    let spots = reader.places.spots(path);
    let Some(model) = spots.iter().rev().find_map(Spot::model) else {
        if reader.is_complete {
            unknown(reader, path);
        }
        return;
    };
    let Some(text) = value.as_str() else { return };
    if let Some(settled) = alike(&model, text) {
        *value = settled;
    } else {
        let message = format!("`{}` must be {}, not \"{text}\"", path.join("."), kind(&model));
        let problem = Problem::error(reader.places.of(path), message);
        reader.note(problem.with_help(format!("a file has {model}")));
    }
}

/// `text` as the kind of value that `model` is.
fn alike(model: &Value, text: &str) -> Option<Value> {
    match model {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Datetime(_) => text.parse().ok().map(Value::Datetime),
        Value::Array(items) => text
            .split(',')
            .map(|item| {
                items.first().map_or_else(|| Some(item.trim().into()), |first| alike(first, item.trim()))
            })
            .collect::<Option<Vec<_>>>()
            .map(Value::Array),
        Value::Table(_) => None,
    }
}

/// The kind of a value in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list of the same kind of values",
        Value::Table(_) => "a table",
    }
}

/// Refuses a variable or flag whose key, or a table on the way to it, no file has.
fn unknown(reader: &Reader<'_>, path: &[String]) {
    let is_file = |path: &[String]| reader.places.spots(path).iter().any(Spot::is_file);
    let mut path = path;
    while let Some((_, above)) = path.split_last() {
        if above.len() < 2 || is_file(above) {
            break;
        }
        path = above;
    }
    let Some((name, above)) = path.split_last() else { return };
    let sibling = |name: &str| is_file(&[above, &[name.to_owned()]].concat());
    let known: Vec<&str> = reader.places.children(above).into_iter().filter(|name| sibling(name)).collect();
    for spot in reader.places.spots(path) {
        let message = format!("names `{name}` in [{}], which no file has", above.join("."));
        let help = suggestion(name, "keys", known.iter().copied());
        reader.note(Problem::error(spot.at_key(), message).with_help(help));
    }
}
