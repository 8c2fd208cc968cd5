//! Loading: files below variables below flags, merged by the `config` crate, which stays in this file.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use ::config::{Config, Environment, File, FileFormat};

use super::problem::{Place, Problem, Problems, nearest};
use super::read::Reader;
use super::spans::Places;
use super::{Settings, shape};

/// The files of a config folder, later ones over earlier ones.
const FILES: [&str; 4] = ["default.toml", "topology.toml", "tests.toml", "local.toml"];
const PREFIX: &str = "TIDEGATE__";
const RANK_ENVIRONMENT: u8 = 10;
const RANK_FLAG: u8 = 11;

/// Settings that may start, and what somebody should look at all the same.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Warnings only.
    pub warnings: Problems,
}

/// Loads the settings of a folder.
///
/// The layers, later over earlier: `default.toml`, `topology.toml`, `tests.toml`, `local.toml` (each optional, but
/// one of the first two must be there), the variables of `environment` that begin with `TIDEGATE__`
/// (`TIDEGATE__HTTP__BIND` is `http.bind`; lists are separated by commas), and `flags`, pairs of a
/// dotted key and a value. Tables are merged key by key, lists are replaced as a whole.
///
/// # Errors
/// Every problem of every layer, warnings included, in the order of layers and lines.
pub fn load(
    dir: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    let mut layers = Layers::default();
    layers.files(dir);
    layers.environment(environment);
    layers.flags(flags);
    layers.settle()
}

/// Loads settings from the text of one file, without any other layer: for tests and trials.
///
/// # Errors
/// Every problem of the text; its places are in a file called `topology.toml`.
pub fn load_text(text: &str) -> Result<Loaded, Problems> {
    let mut layers = Layers { is_complete: true, ..Layers::default() };
    layers.text("topology.toml".to_owned(), 1, text.to_owned());
    layers.settle()
}

/// [`load`] with the environment of this process.
///
/// # Errors
/// As [`load`]; and when one of its variables is not Unicode.
pub fn load_with_environment(
    dir: &Path,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("TIDEGATE")) else { continue };
        if let Ok(value) = value.into_string() {
            environment.push((name.to_owned(), value));
        } else {
            let place = Place::whole(name.to_owned(), RANK_ENVIRONMENT);
            problems.push(Problem::error(place, "the variable's value is not Unicode"));
        }
    }
    match load(dir, environment, flags) {
        Ok(loaded) if !problems.has_errors() => Ok(loaded),
        Ok(loaded) => {
            problems.merge(loaded.warnings);
            Err(problems)
        }
        Err(others) => {
            problems.merge(others);
            Err(problems)
        }
    }
}

/// What was read, not merged yet.
#[derive(Default)]
struct Layers {
    places: Places,
    problems: Problems,
    is_complete: bool,
    texts: Vec<String>,
    variables: BTreeMap<String, String>,
    flags: Vec<(String, String)>,
}

impl Layers {
    fn files(&mut self, dir: &Path) {
        self.is_complete = true;
        let whole = || Place::whole(dir.display().to_string(), 0);
        let names = match list(dir) {
            Ok(names) => names,
            Err(error) => {
                self.is_complete = false;
                let problem = Problem::error(whole(), format!("the config folder cannot be read: {error}"));
                self.problems.push(problem.with_help("name another one with --config"));
                return;
            }
        };
        for name in names.iter().filter(|name| !FILES.contains(&name.as_str())) {
            let place = Place::whole(dir.join(name).display().to_string(), 0);
            let near = nearest(name, FILES).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let help = format!("only {} are read{near}", FILES.join(", "));
            self.problems.push(Problem::warning(place, "the file is not read").with_help(help));
        }
        for (rank, name) in (0..).zip(FILES) {
            if names.iter().any(|known| known == name) {
                self.file(&dir.join(name), rank);
            } else if name == "topology.toml" && names.iter().any(|known| known == "default.toml") {
                let place = Place::whole(dir.join(name).display().to_string(), rank);
                let help = "write one [subscription.<name>] for each step that shall run";
                self.problems.push(Problem::warning(place, "the file is missing").with_help(help));
            }
        }
        if !names.iter().any(|name| name == "default.toml" || name == "topology.toml") {
            self.is_complete = false;
            let message = "the folder has neither default.toml nor topology.toml";
            self.problems
                .push(Problem::error(whole(), message).with_help("name the config folder with --config"));
        }
    }

    fn file(&mut self, path: &Path, rank: u8) {
        let origin = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.is_complete = false;
                let place = Place::whole(origin, rank);
                self.problems.push(Problem::error(place, format!("the file cannot be read: {error}")));
                return;
            }
        };
        self.text(origin, rank, text);
    }

    fn text(&mut self, origin: String, rank: u8, text: String) {
        let problems = self.places.add_file(origin, rank, text.clone());
        if problems.is_empty() {
            self.texts.push(text);
        }
        for problem in problems {
            self.is_complete = false;
            self.problems.push(problem);
        }
    }

    fn environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        // Sorted, so that reports and precedence do not hang on the order of the process's table.
        let sorted: BTreeMap<String, String> = environment.into_iter().collect();
        for (name, value) in sorted {
            let place = || Place::whole(name.clone(), RANK_ENVIRONMENT);
            if let Some(rest) = name.strip_prefix(PREFIX) {
                let path: Vec<String> = rest.to_lowercase().split("__").map(str::to_owned).collect();
                if !is_path(&path) {
                    let help = "write TIDEGATE__TABLE__KEY, for instance TIDEGATE__HTTP__BIND";
                    self.problems.push(Problem::error(place(), "is not the name of a key").with_help(help));
                } else if self.variables.keys().any(|known| known.to_lowercase() == name.to_lowercase()) {
                    self.problems.push(Problem::error(place(), "is set twice, in different case"));
                } else {
                    self.places.add_outside(&name, RANK_ENVIRONMENT, &path);
                    self.variables.insert(name, value);
                }
            } else if let Some(meant) = misspelt(&name) {
                let problem = Problem::warning(place(), "the variable is not read");
                self.problems.push(problem.with_help(format!("two underscores before each part: {meant}")));
            }
        }
    }

    fn flags(&mut self, flags: impl IntoIterator<Item = (String, String)>) {
        for (key, value) in flags {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            let origin = format!("flag {key}");
            if is_path(&path) {
                self.places.add_outside(&origin, RANK_FLAG, &path);
                self.flags.push((key, value));
            } else {
                let place = Place::whole(origin, RANK_FLAG);
                self.problems.push(Problem::error(place, "is not a key").with_help("write table.key"));
            }
        }
    }

    /// Merges the layers and reads the settings from what comes out.
    fn settle(mut self) -> Result<Loaded, Problems> {
        let merged = match self.merge() {
            Ok(merged) => merged,
            Err(error) => {
                let message = format!("the layers do not merge: {error}");
                self.problems.push(Problem::error(Place::wiring(), message));
                return Err(self.problems);
            }
        };
        let problems = self.problems.into();
        let reader = Reader { places: &self.places, problems, is_complete: self.is_complete };
        let settings = shape::settings(&reader, &merged);
        let problems = reader.problems.into_inner();
        if problems.has_errors() { Err(problems) } else { Ok(Loaded { settings, warnings: problems }) }
    }

    /// Merges all layers. Values of variables and flags stay texts: only the reader of a key knows
    /// what they stand for.
    fn merge(&self) -> Result<toml::Table, ::config::ConfigError> {
        let mut builder = Config::builder();
        for text in &self.texts {
            builder = builder.add_source(File::from_str(text, FileFormat::Toml));
        }
        let variables = self.variables.clone().into_iter().collect();
        let environment = Environment::with_prefix("TIDEGATE").prefix_separator("__").separator("__");
        builder = builder.add_source(environment.source(Some(variables)));
        for (key, value) in &self.flags {
            builder = builder.set_override(key, value.as_str())?;
        }
        builder.build()?.try_deserialize()
    }
}

/// The TOML files of a folder, sorted.
fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|extension| extension == "toml") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether every part can be the name of a key that a variable or a flag may set.
fn is_path(path: &[String]) -> bool {
    path.iter().all(|part| {
        !part.is_empty()
            && !part.starts_with('_')
            && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    })
}

/// The variable that `TIDEGATE_HTTP_BIND` should have been.
fn misspelt(name: &str) -> Option<String> {
    let rest = name.strip_prefix("TIDEGATE_")?;
    let (table, key) = rest.split_once('_')?;
    let tables = [
        "HTTP",
        "STORE",
        "BUS",
        "STEPS",
        "LOG",
        "SHUTDOWN",
        "RELOAD",
        "DEFAULTS",
        "SUBSCRIPTION",
        "SCHEDULE",
        "APP",
    ];
    let key = key.trim_start_matches('_');
    tables.contains(&table).then(|| format!("{PREFIX}{table}__{key}"))
}
