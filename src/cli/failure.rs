//! Failures: why a verb did not do what it was asked, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0: done.
    Done,
    /// 1: the answer is no.
    No,
    /// 2: the command line is wrong, or a file it names cannot be read.
    Usage,
    /// 3: the server cannot be reached or cannot serve now.
    Unreachable,
}

impl Exit {
    /// The number that the shell sees.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
        }
    }

    /// [`Exit::Done`] when it is so, else [`Exit::No`].
    pub(super) const fn yes(is_so: bool) -> Self {
        if is_so { Self::Done } else { Self::No }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a verb ended without what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The arguments, or what they name, cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The answer is no, for a reason on this side.
    #[error("{0}")]
    No(String),
    /// The server has answered with a problem.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Nothing listens at the address.
    #[error(
        "cannot reach {url}: {cause}\n  = start the server with `tidegate serve`, or name another with --url or TIDEGATE_URL{}",
        of_stopped(*offline)
    )]
    Unreachable {
        /// The address that was tried.
        url: String,
        /// What the connection said.
        cause: String,
        /// The command that does the same with the data folder of a stopped server, where there is one.
        offline: Option<&'static str>,
    },
    /// The connection ended before the answer: nobody knows what has been done.
    #[error(
        "no answer from {url}: {cause}\n  = the outcome is unknown; asking again, or publishing again with the same id, is safe"
    )]
    Broken {
        /// The address.
        url: String,
        /// What happened.
        cause: String,
    },
    /// What answered is no tidegate, or another version of it.
    #[error(
        "{url} gave an answer that is not understood: {cause}\n  = is there a tidegate of this version behind it?"
    )]
    Strange {
        /// The address.
        url: String,
        /// What is strange.
        cause: String,
    },
}

fn of_stopped(command: Option<&str>) -> String {
    command.map_or_else(String::new, |command| {
        format!("; with the data folder of a stopped server: `{command}`")
    })
}

impl Failure {
    /// Where nothing listens, says also which command does it with the folder of a stopped server.
    pub(super) fn or_offline(mut self, command: &'static str) -> Self {
        if let Self::Unreachable { offline, .. } = &mut self {
            *offline = Some(command);
        }
        self
    }

    /// How the process ends because of it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Refused(problem) if problem.is_later() => Exit::Unreachable,
            Self::Refused(_) | Self::No(_) => Exit::No,
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Strange { .. } => Exit::Unreachable,
        }
    }

    /// The problem that the server has answered with, when it has.
    pub(super) fn refusal(&self) -> Option<&Problem> {
        if let Self::Refused(problem) = self { Some(problem) } else { None }
    }

    /// The failure as problem details, for `--json`.
    pub(super) fn to_problem(&self) -> Problem {
        let title = match self {
            Self::Refused(problem) => return (**problem).clone(),
            Self::Usage(_) => "the command line cannot be used",
            Self::No(_) => "the answer is no",
            Self::Unreachable { .. } => "the server cannot be reached",
            Self::Broken { .. } => "no answer",
            Self::Strange { .. } => "the answer is not understood",
        };
        let text = self.to_string();
        let (detail, remedy) = match text.split_once("\n  = ") {
            Some((detail, remedy)) => (detail.to_owned(), Some(remedy.to_owned())),
            None => (text, None),
        };
        Problem { title: title.to_owned(), detail: Some(detail), remedy, ..Problem::default() }
    }
}

/// The problem details (RFC 9457) of an answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    /// What kind of problem it is.
    pub(super) title: String,
    /// The HTTP status; absent for a failure on this side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// What is wrong this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
    /// What is wrong where.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<Fault>,
    /// When the server wants to be asked again.
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
    /// Everything else that the answer said.
    #[serde(flatten)]
    pub(super) rest: serde_json::Map<String, serde_json::Value>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Fault {
    /// Where: a JSON pointer into the body, a header, a parameter.
    pub(super) pointer: String,
    /// What.
    pub(super) detail: String,
}

impl Problem {
    /// Whether the same request may succeed later, without anything being changed in it.
    pub(super) fn is_later(&self) -> bool {
        self.status.is_some_and(|status| status == 429 || status >= 500)
    }

    /// Whether it is worth asking again by itself: a full disk or a fault is not mended by waiting a little.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.status, Some(429 | 503))
    }

    /// Whether it lies in the events that were sent, so that others may fare better.
    pub(super) fn is_about_events(&self) -> bool {
        matches!(self.status, Some(400 | 403 | 409 | 413 | 415 | 422))
    }
}

impl fmt::Display for Problem {
    /// Title, detail, faults and remedy, each on its own line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.title.is_empty() { "refused" } else { &self.title })?;
        if let Some(status) = self.status {
            write!(f, " ({status})")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, "\n  {detail}")?;
        }
        for Fault { pointer, detail } in &self.errors {
            write!(f, "\n  {pointer}{}{detail}", if pointer.is_empty() { "" } else { ": " })?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  = {remedy}")?;
        }
        Ok(())
    }
}
