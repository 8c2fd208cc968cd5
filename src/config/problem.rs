//! Reports: what is wrong, where exactly, and what to write instead.
//!
//! Problems are collected, never thrown one by one: whoever fixes a file wants to see them all.

use std::fmt;

use serde::Serialize;

/// Whether a problem stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing starts with it.
    Error,
    /// It starts, but somebody should look.
    Warning,
}

/// Where a problem is: a place in a file, an environment variable, a flag, or the wiring as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file's path, the variable's name, the flag, or `wiring`.
    pub origin: String,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// The line itself.
    pub excerpt: Option<String>,
    /// How many characters of it are meant.
    #[serde(skip)]
    pub(super) width: usize,
    /// Rank of the layer, so that reports are in the order in which files are layered.
    #[serde(skip)]
    pub(super) rank: u8,
}

impl Place {
    /// What concerns the steps and no line of a file. Sorted behind all others.
    pub(super) fn wiring() -> Self {
        Self { origin: "wiring".to_owned(), rank: u8::MAX, ..Self::default() }
    }

    /// A file or folder as a whole.
    pub(super) fn whole(origin: String, rank: u8) -> Self {
        Self { origin, rank, ..Self::default() }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it stops the start.
    pub severity: Severity,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong, lower case, without a final period.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// An error at `place`.
    pub(super) fn error(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place, message: message.into(), help: None }
    }

    /// A warning at `place`.
    pub(super) fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, place, message: message.into(), help: None }
    }

    /// Adds what to do about it.
    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    /// `file:line:column: message`, the line with a caret below, and the help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place.origin)?;
        if let (Some(line), Some(column)) = (self.place.line, self.place.column) {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        if let (Some(line), Some(column), Some(excerpt)) =
            (self.place.line, self.place.column, &self.place.excerpt)
        {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // A tab before the caret stays a tab, so that both lines are indented alike.
            let indent: String =
                excerpt.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let carets = "^".repeat(self.place.width.max(1));
            write!(f, "\n  {number} | {excerpt}\n  {margin} | {indent}{carets}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  = {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// All that is wrong, in the order of layers, lines and columns.
///
/// As JSON: `{"errors": […], "warnings": […]}`, each with `severity`, `origin`, `line`, `column`,
/// `excerpt`, `message`, `help`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// What stops the start.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// What somebody should look at.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.severity == Severity::Warning)
    }

    /// Whether anything stops the start.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Whether nothing is wrong at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, errors and warnings mixed, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Takes the problems of `other` in, at their places.
    pub fn merge(&mut self, other: Self) {
        for problem in other.0 {
            self.push(problem);
        }
    }

    /// Adds one at its place; the same problem twice is told once.
    pub(super) fn push(&mut self, problem: Problem) {
        if self.0.contains(&problem) {
            return;
        }
        let order = |p: &Problem| (p.place.rank, p.place.origin.clone(), p.place.line, p.place.column);
        let at = self.0.partition_point(|known| order(known) <= order(&problem));
        self.0.insert(at, problem);
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Problems {
    /// What an application says when it cannot build its steps from the settings: problems of ours stay at
    /// their places, anything else is an error of the wiring.
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        error.downcast::<Self>().map_or_else(
            |other| {
                let message = format!("the application cannot build its steps: {other}");
                Self(vec![Problem::error(Place::wiring(), message)])
            },
            |problems| *problems,
        )
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    /// One block a problem, and a line that counts them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self {
            writeln!(f, "{problem}\n")?;
        }
        let plural = |count: usize, word| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (errors, warnings) = (self.errors().count(), self.warnings().count());
        write!(f, "{}, {}", plural(errors, "error"), plural(warnings, "warning"))
    }
}

impl std::error::Error for Problems {}

impl Serialize for Problems {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Report<'a> {
            errors: Vec<&'a Problem>,
            warnings: Vec<&'a Problem>,
        }
        Report { errors: self.errors().collect(), warnings: self.warnings().collect() }.serialize(serializer)
    }
}

/// The word of `known` nearest to `word`, when one is near enough to be a slip of the keyboard.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, candidate)| {
            *likeness >= 0.85 || strsim::damerau_levenshtein(word, candidate) <= 1 && word.len() > 2
        })
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// `did you mean …`, else the list of what is known.
pub(super) fn suggestion<'a>(
    word: &str,
    kind: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(near) = nearest(word, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let list: Vec<&str> = known.into_iter().collect();
    if list.is_empty() {
        format!("there are no {kind}")
    } else {
        format!("known {kind}: {}", list.join(", "))
    }
}
