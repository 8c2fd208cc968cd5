//! The states that a flow's answer shows when asked for: those of the keys now, and those before and after the
//! attempts of subscriptions that keep them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::QueryError;
use super::render::raw;
use super::view::{DeliveryView, StatesView};
use crate::store::{DeliveryRecord, EventRecord, Reader, Seq, StepStates, SubscriptionId};

/// Bytes of states after which no more are read for one answer.
const STATE_BYTES: usize = 1 << 20;

/// The states of one flow.
#[derive(Debug, Default)]
pub(super) struct States {
    now: BTreeMap<(SubscriptionId, Arc<str>), Box<RawValue>>,
    kept: BTreeMap<(SubscriptionId, Seq), Vec<StepStates>>,
}

impl States {
    /// Reads them, up to a limit of bytes.
    pub(super) fn read(reader: &dyn Reader, events: &[EventRecord]) -> Result<Self, QueryError> {
        let (mut states, mut bytes) = (Self::default(), 0);
        let deliveries = events.iter().flat_map(|event| event.deliveries.iter().map(|d| (event.seq, d)));
        for (seq, delivery) in deliveries {
            let (id, Some(key)) = (delivery.subscription, &delivery.key) else { continue };
            if bytes >= STATE_BYTES {
                break;
            }
            let kept = reader.step_states(id, seq)?;
            if !kept.is_empty() {
                let sides = kept.iter().flat_map(|states| [&states.before, &states.after]);
                bytes += sides.flatten().map(Bytes::len).sum::<usize>();
                states.kept.insert((id, seq), kept);
            }
            let place = (id, Arc::clone(key));
            if states.now.contains_key(&place) {
                continue;
            }
            if let Some(state) = reader.state(id, key)? {
                bytes += state.len();
                states.now.extend(raw(&state).map(|state| (place, state)));
            }
        }
        Ok(states)
    }

    /// The delivery with its states.
    pub(super) fn shown(&self, seq: Seq, delivery: &DeliveryRecord, mut view: DeliveryView) -> DeliveryView {
        let place = delivery.key.clone().map(|key| (delivery.subscription, key));
        view.key_state = place.and_then(|place| self.now.get(&place).cloned());
        for states in self.kept.get(&(delivery.subscription, seq)).into_iter().flatten() {
            let attempt = view.history.iter_mut().find(|attempt| attempt.commit == states.commit.0);
            if let Some(attempt) = attempt {
                let side = |side: &Option<Bytes>| side.as_ref().and_then(raw);
                attempt.states =
                    Some(StatesView { before: side(&states.before), after: side(&states.after) });
            }
        }
        view
    }
}
