//! Oldest: up to which event nothing stands any more, neither a flow that began with it nor bookkeeping.
//!
//! Flows and events come in the order of their numbers and go in about that order. So whoever asks of very many, one after
//! the other, whether they have gone (`forget.rs`, the engine's retention) is mostly told by one number.
//!
//! ```text
//! gone ... gone | stands  gone  stands ...
//!               └ looked for from here on, when what stood here has gone
//! ```

use super::{View, keys};
use crate::store::{Seq, StoreError};

/// Flows that go between two looks, while more are about to go.
const WORTH: usize = 256;

/// Where the oldest of them was when it was looked for last; both only grow.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    /// No flow that began before it stands.
    flow: Seq,
    /// Nor does an event, or the flow of one.
    event: Seq,
    /// What stood there stands still.
    is_sure: bool,
    /// Flows that have gone since it was looked for.
    gone: usize,
}

impl Oldest {
    /// Notes that the flow of a first event has gone.
    pub(super) fn gone(&mut self, first: Seq) {
        self.is_sure &= first != self.flow;
        self.gone += 1;
    }

    /// Whether what is known of it is so now; nothing is before the first look.
    fn is_fresh(&self) -> bool {
        self.is_sure || self.gone == 0 && self.event > Seq(0)
    }

    /// Whether it has gone, and enough with it that it is worth a look: each passes whole pages.
    pub(super) const fn is_worth_a_look(&self) -> bool {
        !self.is_sure && self.gone >= WORTH
    }
}

impl View {
    /// Whether nothing stands of all events up to one: no flow that began with one of them, and no bookkeeping. It may be so
    /// though it is not known yet.
    pub(in crate::store) fn is_clear_until(&self, seq: Seq) -> bool {
        seq < self.oldest.event
    }

    /// Whether what is not clear as far as is known does stand.
    pub(in crate::store) fn knows_oldest(&self) -> bool {
        self.oldest.is_fresh()
    }

    /// Looks on for what stands, where what stood has gone.
    pub(in crate::store) fn look_for_oldest(&mut self) -> Result<(), StoreError> {
        if self.oldest.is_sure {
            return Ok(());
        }
        self.oldest.gone = 0;
        // Flows that began later may be held decoded, and in no row.
        let rows = if self.cooling.is_some() { self.beneath } else { self.folded };
        let end = Seq(rows.0.saturating_add(1));
        let (from, to) = (keys::flow(self.oldest.flow).bytes(), keys::flow(end).bytes());
        let first = self.rows.first(&from, &to)?.and_then(|(key, _)| keys::last_u64(&key)).map(Seq);
        self.oldest.is_sure = first.is_some();
        self.oldest.flow = first.unwrap_or(end).max(self.oldest.flow);
        // Before the oldest flow no event should stand; where one does, its flow is lost.
        let event = self.first_event(self.oldest.event, self.oldest.flow)?;
        self.oldest.event = event.unwrap_or(self.oldest.flow);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::forget_tests::publish;
    use super::*;
    use crate::store::StoreSettings;
    use crate::store::rows::Rows;
    use crate::store::rows::tests::Folded;
    use crate::store::view::Frozen;

    /// A view over folded rows, which checkpoints reach.
    pub(in crate::store::view) struct World {
        pub(in crate::store::view) view: View,
        pub(in crate::store::view) base: Arc<Folded>,
    }

    impl World {
        fn over(base: Arc<Folded>) -> Self {
            let view =
                View::load(Rows::over(Arc::<Folded>::clone(&base)), &StoreSettings::default(), "here".into())
                    .unwrap();
            Self { view, base }
        }

        /// Events `1..=events`, each of its own flow, all of them at rest and taken by a checkpoint.
        pub(in crate::store::view) fn with(events: u64) -> Self {
            let mut world = Self::over(Arc::default());
            publish(&mut world.view, 0..events, false);
            world.checkpoint();
            world
        }

        pub(in crate::store::view) fn checkpoint(&mut self) {
            let frozen = self.view.freeze().unwrap();
            self.fold(&frozen);
        }

        pub(in crate::store::view) fn fold(&mut self, frozen: &Frozen) {
            let mut fold = |key: &[u8], value: Option<&[u8]>, _| {
                self.base.fold(key, value);
                Ok(())
            };
            frozen.each(Path::new(""), Some(&*self.base), &mut fold).unwrap();
            drop(self.view.forget_frozen());
        }

        pub(in crate::store::view) fn expire(&mut self, seqs: impl IntoIterator<Item = u64>) {
            for seq in seqs {
                let flow = format!("flow-e{}", seq - 1);
                assert_eq!(self.view.expire(Seq(seq), &flow, &mut Vec::new()).unwrap(), [Seq(seq)]);
            }
            self.view.look_for_oldest().unwrap();
        }

        fn clear_until(&self) -> u64 {
            (1..1_000).take_while(|seq| self.view.is_clear_until(Seq(*seq))).last().unwrap_or(0)
        }
    }

    #[test]
    fn all_is_clear_up_to_the_oldest_that_stands_in_whatever_order_they_go() {
        let mut world = World::with(300);
        world.expire(2..=200);
        assert_eq!(world.clear_until(), 0, "the first stands");

        world.expire([1]);
        assert_eq!(world.clear_until(), 200);
        world.expire((201..=300).rev());
        assert_eq!(world.clear_until(), 300);
    }

    #[test]
    fn what_no_checkpoint_has_taken_is_not_clear() {
        let mut world = World::with(10);
        publish(&mut world.view, 10..20, false);
        world.expire(1..=12);
        assert_eq!(world.clear_until(), 10);

        // Nor what one is about to take: it is in no row yet.
        let frozen = world.view.freeze().unwrap();
        publish(&mut world.view, 20..30, false);
        world.expire(13..=19);
        assert_eq!(world.clear_until(), 10);

        world.fold(&frozen);
        world.expire([20]);
        assert_eq!(world.clear_until(), 20);
    }

    #[test]
    fn an_event_whose_flow_is_lost_stands() {
        let mut world = World::with(9);
        world.base.fold(&keys::flow(Seq(4)).bytes(), None);

        world.expire((1..=9).filter(|seq| *seq != 4));

        assert_eq!(world.clear_until(), 3);
        assert!(world.view.event_row(Seq(4)).unwrap().is_some());
    }

    #[test]
    fn a_start_looks_anew() {
        let mut world = World::with(9);
        world.expire(1..=5);
        world.checkpoint();

        let mut world = World::over(world.base);

        assert!(world.clear_until() == 0 && !world.view.knows_oldest(), "nobody has looked");
        world.expire([6]);
        assert!(world.clear_until() == 6 && world.view.knows_oldest());
    }
}
