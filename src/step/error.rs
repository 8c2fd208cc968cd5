//! How a step fails: each variant says what the runtime does next.

use std::fmt;
use std::time::Duration;

/// Why a step did not handle its event, which is: what happens to the event now.
///
/// Any `std::error::Error` becomes [`StepError::Retry`] through `?`; that is why this type is no
/// `std::error::Error` itself.
///
/// ```
/// use tidegate::{StepError, StepResult};
///
/// fn amount(text: &str) -> Result<u64, StepError> {
///     Ok(text.parse::<u64>().fatal("amount")?)        // trying again will not make it a number
/// }
/// assert_eq!(amount("x").unwrap_err().to_string(), "fatal (amount): invalid digit found in string");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepError {
    /// Try again: after the subscription's backoff, or after `after`. Counts as a failed attempt.
    Retry {
        /// What went wrong.
        message: String,
        /// How long to wait; `None`: as the subscription's policy says.
        after: Option<Duration>,
    },
    /// Trying again is of no use: a dead letter at once.
    Fatal {
        /// A short word to filter and group by.
        code: String,
        /// What went wrong.
        message: String,
    },
    /// Nothing is wrong, it is only too early: come back later. Not a failure, counts against nothing.
    Snooze {
        /// How long to wait.
        after: Duration,
    },
    /// Settle the event without handling it.
    Skip {
        /// Why.
        reason: String,
    },
    /// Trying again is of no use, and the whole flow is to be undone: a dead letter at once, whose flow is
    /// compensated. Past the flow's point of no return it is a dead letter that waits for a person.
    Abort {
        /// A short word to filter and group by.
        code: String,
        /// What went wrong.
        message: String,
    },
    /// The payload is not what the event's type says: a dead letter at once. Made by the runtime.
    Undecodable {
        /// Names event, field and place.
        message: String,
    },
    /// The runtime shuts down; the attempt counts as nothing.
    Shutdown,
}

impl StepError {
    /// A retry after the subscription's backoff.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry { message: message.into(), after: None }
    }

    /// A retry after `after`.
    pub fn retry_after(after: Duration, message: impl Into<String>) -> Self {
        Self::Retry { message: message.into(), after: Some(after) }
    }

    /// A dead letter at once.
    pub fn fatal(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Fatal { code: code.into(), message: message.into() }
    }

    /// A dead letter at once, and the flow is undone.
    pub fn abort(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Abort { code: code.into(), message: message.into() }
    }

    /// Come back after `after`; not a failure.
    pub fn snooze(after: Duration) -> Self {
        Self::Snooze { after }
    }

    /// Settle without handling.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip { reason: reason.into() }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { message, after: None } => f.write_str(message),
            Self::Retry { message, after: Some(after) } => write!(f, "{message} (again after {after:?})"),
            Self::Fatal { code, message } => write!(f, "fatal ({code}): {message}"),
            Self::Abort { code, message } => write!(f, "aborted ({code}): {message}"),
            Self::Snooze { after } => write!(f, "snoozed for {after:?}"),
            Self::Skip { reason } => write!(f, "skipped: {reason}"),
            Self::Undecodable { message } => write!(f, "undecodable: {message}"),
            Self::Shutdown => f.write_str("cut off by the shutdown"),
        }
    }
}

impl<E: std::error::Error> From<E> for StepError {
    /// A retry whose message is the error and the chain of its sources.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors print their source themselves; do not say it twice.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::retry(message)
    }
}

/// Says on a `Result` what its error means for the event.
///
/// Only an ordinary error or a [`StepError::Retry`] is changed; a snooze, a skip, a fatal error and a
/// shutdown pass as they are.
pub trait StepResult<T> {
    /// Makes the error fatal: a dead letter at once.
    ///
    /// # Errors
    /// [`StepError::Fatal`] with `code`.
    fn fatal(self, code: &str) -> Result<T, StepError>;

    /// Has the event tried again after `after`.
    ///
    /// # Errors
    /// [`StepError::Retry`] with `after`.
    fn retry_after(self, after: Duration) -> Result<T, StepError>;
}

impl<T, E: Into<StepError>> StepResult<T> for Result<T, E> {
    fn fatal(self, code: &str) -> Result<T, StepError> {
        self.map_err(|error| change(error.into(), |message| StepError::fatal(code, message)))
    }

    fn retry_after(self, after: Duration) -> Result<T, StepError> {
        self.map_err(|error| change(error.into(), |message| StepError::retry_after(after, message)))
    }
}

fn change(error: StepError, with: impl FnOnce(String) -> StepError) -> StepError {
    if let StepError::Retry { message, .. } = error { with(message) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no answer from the bank")]
    struct Silent(#[source] std::io::Error);

    fn refused() -> Result<(), Silent> {
        Err(Silent(std::io::Error::other("connection refused")))
    }

    #[test]
    fn an_error_through_the_question_mark_is_a_retry_with_its_causes() {
        fn step() -> Result<(), StepError> {
            refused()?;
            Ok(())
        }

        assert_eq!(step(), Err(StepError::retry("no answer from the bank: connection refused")));
    }

    #[test]
    fn a_result_can_say_what_its_error_means() {
        let message = "no answer from the bank: connection refused";
        let second = Duration::from_secs(1);

        assert_eq!(refused().fatal("bank"), Err(StepError::fatal("bank", message)));
        assert_eq!(refused().retry_after(second), Err(StepError::retry_after(second, message)));
    }

    #[test]
    fn only_a_retry_is_turned_into_something_else() {
        for kept in [StepError::Shutdown, StepError::snooze(Duration::ZERO), StepError::skip("not mine")] {
            assert_eq!(Err::<(), _>(kept.clone()).fatal("bank"), Err(kept));
        }
    }
}
