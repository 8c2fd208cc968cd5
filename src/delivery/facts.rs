//! Facts of deliveries: what the system tells of a dead letter and of the key that waits behind it.
//!
//! They are stored with the change that they tell of. A delivery of a fact that dies tells nothing: facts
//! about facts could go round for ever.

use serde::Serialize;

use crate::event::{Envelope, Fact};
use crate::store::{DeadReason, Ordinal, Seq};

/// The most bytes of an error in a fact.
const ERROR_MAX: usize = 4_096;

/// A delivery that has died.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Died<'a> {
    pub(crate) subscription: &'a str,
    pub(crate) event: &'a Envelope,
    pub(crate) seq: Seq,
    pub(crate) ordinal: Ordinal,
    pub(crate) key: &'a str,
    pub(crate) reason: DeadReason,
    pub(crate) error: &'a str,
    pub(crate) attempts: u32,
    /// Its key waits behind it and has not waited before.
    pub(crate) parks: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    dead_letter: &'a str,
    subscription: &'a str,
    event: &'a str,
    source: &'a str,
    name: &'a str,
    flow: &'a str,
    key: &'a str,
    reason: &'static str,
    error: &'a str,
    attempts: u32,
}

impl Died<'_> {
    /// What is told of it.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        if self.event.name.is_reserved() {
            return Vec::new();
        }
        let letter = dead_letter_id(self.subscription, self.seq);
        let told = Told {
            dead_letter: &letter,
            subscription: self.subscription,
            event: &self.event.id,
            source: &self.event.source,
            name: self.event.name.as_str(),
            flow: &self.event.flow,
            key: self.key,
            reason: self.reason.as_str(),
            error: cut(self.error),
            attempts: self.attempts,
        };
        let (attempt, ordinal) = (self.attempts.to_string(), self.ordinal.0.to_string());
        let identity = [self.subscription, &self.event.source, &self.event.id, &ordinal, &attempt];
        let fact = |name| {
            let fact = Fact::new(name, &identity, &told)?;
            Some(fact.about(self.subscription, &letter).caused_by(&self.event.id))
        };
        let parked = if self.parks { fact("tidegate.key.parked") } else { None };
        fact("tidegate.delivery.dead").into_iter().chain(parked).collect()
    }
}

/// The id of a dead letter: the subscription's name and the event's number.
pub(crate) fn dead_letter_id(subscription: &str, seq: Seq) -> String {
    format!("{subscription}-{}", seq.0)
}

/// The beginning of a text, to a whole character.
fn cut(text: &str) -> &str {
    let end = (0..=ERROR_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_to_a_whole_character() {
        let long = "é".repeat(ERROR_MAX);

        assert_eq!(cut(&long).len(), ERROR_MAX);
        assert_eq!(cut(&format!("a{long}")).len(), ERROR_MAX - 1);
        assert_eq!(cut("short"), "short");
    }
}
