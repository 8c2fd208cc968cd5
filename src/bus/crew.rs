//! Crew: the subscriptions that run, each with its actor, and how one is started, replaced and ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use actix::{Actor, ArbiterHandle};

use super::handle::Inner;
use crate::activity::Activity;
use crate::delivery::{FlowBell, Inbox, Port, Reads, Subscription, SubscriptionActor, SubscriptionParts};
use crate::event::PatternSet;
use crate::store::{SubscriptionId, SubscriptionSpec};

/// Who works the subscriptions.
#[derive(Debug)]
pub(super) struct Crew {
    /// The subscriptions are spread over them.
    pub(super) arbiters: Vec<ArbiterHandle>,
    pub(super) turn: AtomicUsize,
    pub(super) reads: Reads,
    pub(super) activity: Activity,
    pub(super) bell: FlowBell,
    /// By subscription: what its actor was started from.
    pub(super) seats: Mutex<BTreeMap<SubscriptionId, Seat>>,
    /// One change of the wiring at a time.
    pub(super) rewiring: tokio::sync::Mutex<()>,
}

/// A subscription's place in the crew, whichever actor sits there.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) spec: SubscriptionSpec,
    pub(super) wired: Subscription,
    pub(super) port: Port,
    pub(super) inbox: Inbox,
}

impl Seat {
    /// A seat that nobody has taken yet.
    pub(super) fn new(
        id: SubscriptionId,
        spec: SubscriptionSpec,
        wired: Subscription,
        activity: &Activity,
        bell: &FlowBell,
    ) -> Self {
        let order = wired.limits.order;
        let (port, inbox) = Port::new(id, &wired.name, wired.pure, activity.clone());
        Self { spec, wired, port: port.ordered(order).ringing(bell.clone()), inbox }
    }

    /// The same seat for another actor. What the process may have died of is suspected still.
    pub(super) fn renewed(self) -> Self {
        let mut wired = self.wired;
        let suspicion = &mut wired.at_start.suspicion;
        suspicion.suspects.extend(suspicion.convicted.take());
        let port = self.port.renewed(wired.pure, wired.limits.order);
        Self { wired, port, ..self }
    }

    /// The names it listens to.
    pub(super) fn patterns(&self) -> PatternSet {
        // They were parsed when the settings were loaded.
        PatternSet::parse(&self.spec.on).unwrap_or_default()
    }
}

impl Crew {
    pub(super) fn seats(&self) -> BTreeMap<SubscriptionId, Seat> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_seats(&self, seats: BTreeMap<SubscriptionId, Seat>) {
        *self.seats.lock().unwrap_or_else(PoisonError::into_inner) = seats;
    }
}

impl Inner {
    /// Starts the actor of a seat. The caller sees to it that there is no other.
    pub(super) fn man(&self, seat: &Seat) {
        let crew = &self.crew;
        let turn = crew.turn.fetch_add(1, Ordering::Relaxed);
        let Some(arbiter) = crew.arbiters.get(turn % crew.arbiters.len().max(1)) else { return };
        let parts = SubscriptionParts {
            starting: seat.port.busy(),
            subscription: seat.wired.clone(),
            port: seat.port.clone(),
            inbox: seat.inbox.clone(),
            reads: crew.reads.clone(),
            submitter: self.submitter.clone(),
            routing: self.routing.clone(),
            clock: self.clock.clone(),
            metrics: std::sync::Arc::clone(&self.metrics),
            compensations: self.compensations.clone(),
        };
        SubscriptionActor::start_in_arbiter(arbiter, |_| SubscriptionActor::new(parts));
    }
}
