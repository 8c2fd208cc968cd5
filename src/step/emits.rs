//! What a step can return: emitting is returning, and the names are known before anything runs.

use std::time::Duration;

use bytes::Bytes;

use super::Event;

/// One event that a step has emitted, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Its name.
    pub name: &'static str,
    /// Its key, empty when it has none.
    pub key: String,
    /// Its payload, JSON.
    pub data: Bytes,
    /// How long after the step's settling it is due; `None` at once.
    pub delay: Option<Duration>,
}

/// What a step may return: nothing, an event, or a composition of events.
///
/// Implemented for `()`, every [`Event`], `Option`, `Vec`, tuples of up to six, [`Either`], [`After`] and,
/// through [`emits_enum!`](crate::emits_enum), for an enum of one's own.
///
/// # Guarantees
/// What is returned is emitted in its order, atomically with the step's state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be emitted by a step",
    label = "neither an event nor made of events",
    note = "a step emits `()`, a type that implements `Event`, `Option`, `Vec`, a tuple, `Either<A, B>`, `After<E>` or an enum written with `emits_enum!`"
)]
pub trait Emits: Send + 'static {
    /// Adds the name of every event that a value of this type may hold.
    fn names(into: &mut Vec<&'static str>);

    /// Encodes the events and adds them in order.
    ///
    /// # Errors
    /// When an event cannot be written as JSON (a map with keys that are no strings, a failing `Serialize`).
    fn collect(self, into: &mut Vec<Emitted>) -> Result<(), serde_json::Error>;
}

impl Emits for () {
    fn names(_: &mut Vec<&'static str>) {}

    fn collect(self, _: &mut Vec<Emitted>) -> Result<(), serde_json::Error> {
        Ok(())
    }
}

impl<E: Event> Emits for E {
    fn names(into: &mut Vec<&'static str>) {
        into.push(E::NAME);
    }

    fn collect(self, into: &mut Vec<Emitted>) -> Result<(), serde_json::Error> {
        let data = Bytes::from(serde_json::to_vec(&self)?);
        into.push(Emitted { name: E::NAME, key: self.key().into_owned(), data, delay: None });
        Ok(())
    }
}

impl<T: Emits> Emits for Option<T> {
    fn names(into: &mut Vec<&'static str>) {
        T::names(into);
    }

    fn collect(self, into: &mut Vec<Emitted>) -> Result<(), serde_json::Error> {
        self.map_or(Ok(()), |some| some.collect(into))
    }
}

impl<T: Emits> Emits for Vec<T> {
    fn names(into: &mut Vec<&'static str>) {
        T::names(into);
    }

    fn collect(self, into: &mut Vec<Emitted>) -> Result<(), serde_json::Error> {
        self.into_iter().try_for_each(|each| each.collect(into))
    }
}

macro_rules! tuple_emits {
    ($($name:ident)+) => {
        impl<$($name: Emits),+> Emits for ($($name,)+) {
            fn names(into: &mut Vec<&'static str>) {
                $($name::names(into);)+
            }

            fn collect(self, into: &mut Vec<Emitted>) -> Result<(), serde_json::Error> {
                #[expect(non_snake_case, reason = "the type parameters name the fields")]
                let ($($name,)+) = self;
                $($name.collect(into)?;)+
                Ok(())
            }
        }
    };
}

tuple_emits!(A);
tuple_emits!(A B);
tuple_emits!(A B C);
tuple_emits!(A B C D);
tuple_emits!(A B C D E);
tuple_emits!(A B C D E F);

/// One outcome or the other. Nests: `Either<A, Either<B, C>>`; from three on, an
/// [`emits_enum!`](crate::emits_enum) reads better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first.
    Left(A),
    /// The second.
    Right(B),
}

impl<A: Emits, B: Emits> Emits for Either<A, B> {
    fn names(into: &mut Vec<&'static str>) {
        A::names(into);
        B::names(into);
    }

    fn collect(self, into: &mut Vec<Emitted>) -> Result<(), serde_json::Error> {
        match self {
            Self::Left(left) => left.collect(into),
            Self::Right(right) => right.collect(into),
        }
    }
}

/// Emits later: the event becomes durable with the step and is due after the duration, whatever happens to
/// the process meanwhile.
///
/// ```
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # use tidegate::{After, Event};
/// # #[derive(Serialize, Deserialize)] struct ReminderDue { order: String }
/// # impl Event for ReminderDue { const NAME: &'static str = "reminder.due"; }
/// let tomorrow = After(Duration::from_secs(86_400), ReminderDue { order: "o1".to_owned() });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After<E>(pub Duration, pub E);

impl<T: Emits> Emits for After<T> {
    fn names(into: &mut Vec<&'static str>) {
        T::names(into);
    }

    fn collect(self, into: &mut Vec<Emitted>) -> Result<(), serde_json::Error> {
        let Self(delay, later) = self;
        let first = into.len();
        later.collect(into)?;
        for emitted in into.iter_mut().skip(first) {
            emitted.delay = Some(emitted.delay.unwrap_or_default().saturating_add(delay));
        }
        Ok(())
    }
}

/// Writes an enum of outcomes that a step can emit; each variant holds one event (or anything that
/// [`Emits`](crate::step::Emits)).
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidegate::prelude::*;
/// # #[derive(Debug, Serialize, Deserialize)] pub struct AccountChecked { pub order: String }
/// # impl Event for AccountChecked { const NAME: &'static str = "account.checked"; }
/// # #[derive(Debug, Serialize, Deserialize)] pub struct PurchaseRefused { pub order: String }
/// # impl Event for PurchaseRefused { const NAME: &'static str = "purchase.refused"; }
/// tidegate::emits_enum! {
///     /// What the check says.
///     #[derive(Debug)]
///     pub enum Outcome {
///         /// Go on.
///         Checked(AccountChecked),
///         /// No.
///         Refused(PurchaseRefused),
///     }
/// }
///
/// let mut names = Vec::new();
/// <Outcome as tidegate::step::Emits>::names(&mut names);
/// assert_eq!(names, ["account.checked", "purchase.refused"]);
/// ```
#[macro_export]
macro_rules! emits_enum {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident($emits:ty)),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $visibility enum $name {
            $($(#[$variant_meta])* $variant($emits),)+
        }

        impl $crate::step::Emits for $name {
            fn names(into: &mut ::std::vec::Vec<&'static str>) {
                $(<$emits as $crate::step::Emits>::names(into);)+
            }

            fn collect(
                self,
                into: &mut ::std::vec::Vec<$crate::step::Emitted>,
            ) -> ::std::result::Result<(), $crate::step::JsonError> {
                match self {
                    $(Self::$variant(emits) => $crate::step::Emits::collect(emits, into),)+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct A(u8);
    impl Event for A {
        const NAME: &'static str = "a";
        fn key(&self) -> std::borrow::Cow<'_, str> {
            format!("k{}", self.0).into()
        }
    }

    #[derive(Serialize, Deserialize)]
    struct B {}
    impl Event for B {
        const NAME: &'static str = "b";
    }

    emits_enum! {
        enum Outcome { Some(A), Late(After<B>) }
    }

    fn names<T: Emits>() -> Vec<&'static str> {
        let mut names = Vec::new();
        T::names(&mut names);
        names
    }

    fn collected(emits: impl Emits) -> Vec<(&'static str, String, Option<u64>)> {
        let mut into = Vec::new();
        emits.collect(&mut into).unwrap();
        into.into_iter().map(|e| (e.name, e.key, e.delay.map(|d| d.as_secs()))).collect()
    }

    #[test]
    fn names_are_known_from_the_type_alone() {
        assert_eq!(names::<()>(), [""; 0]);
        assert_eq!(names::<(A, Option<B>, Vec<A>)>(), ["a", "b", "a"]);
        assert_eq!(names::<Either<A, Either<B, After<A>>>>(), ["a", "b", "a"]);
        assert_eq!(names::<Outcome>(), ["a", "b"]);
    }

    #[test]
    fn what_is_returned_is_emitted_in_order() {
        let key = |k: &str| k.to_owned();

        assert_eq!(collected(()), []);
        assert_eq!(
            collected((A(1), None::<B>, vec![A(2), A(3)], Some(B {}))),
            [("a", key("k1"), None), ("a", key("k2"), None), ("a", key("k3"), None), ("b", key(""), None)]
        );
        assert_eq!(collected(Either::<A, B>::Right(B {})), [("b", key(""), None)]);
        assert_eq!(collected(Outcome::Some(A(4))), [("a", key("k4"), None)]);
    }

    #[test]
    fn a_delay_covers_what_it_holds_and_nothing_before_it() {
        let secs = Duration::from_secs;

        let found = collected((A(1), After(secs(5), (A(2), After(secs(2), A(3))))));

        assert_eq!(found.iter().map(|(_, _, delay)| *delay).collect::<Vec<_>>(), [None, Some(5), Some(7)]);
        assert_eq!(collected(Outcome::Late(After(secs(1), B {}))).first().unwrap().2, Some(1));
    }
}
