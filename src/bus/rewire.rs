//! Rewire: another wiring, while the bus runs.
//!
//! ```text
//! plan ─> those that go or get another actor fall quiet ─> one commit: Attach, Orphan, the fact
//!      ─> their actors end ─> ports ─> new actors ─> routing
//! ```
//! Why in this order. The store knows a subscription before anybody is routed to it, and from that commit on it
//! completes the routes of events that were routed before (see [`Change::Attach`]), so nothing falls between
//! what a new subscription looks back on and what it is routed. A port stands before its actor starts, and
//! the actor reads the store after that: what was committed before is read, what comes later is handed on.
//! An event that is still routed to a subscription when it is orphaned enters its backlog, and is counted there.
//! A subscription that gets another actor has none for a moment: the old one is gone, with its outcomes on
//! disk, before the new one asks.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::timeout;

use super::at_start::parked_keys;
use super::crew::Seat;
use super::handle::{Bus, Inner, stopped};
use super::{Operator, QueryError, Readiness, ReloadError};
use crate::delivery::{Order, Port, Rewired, Subscription};
use crate::store::{Change, Receipt, Routed, Shelf, SubscriptionId, SubscriptionSpec};

/// How long attempts have to end once they were interrupted.
const INTERRUPTED: Duration = Duration::from_secs(2);

/// A wiring as the bus takes it, whole. What else the config says of a running bus belongs here as well.
#[derive(Debug)]
pub struct Rewire {
    /// Every subscription of the wiring, each with what the store is to know of it.
    pub subscriptions: Vec<(SubscriptionSpec, Subscription)>,
    /// How long attempts may run on of a subscription that goes, or gets another actor.
    pub patience: Duration,
    /// What the fact is to tell beside who did it: a JSON object.
    pub told: Value,
    /// Who wants it.
    pub operator: Operator,
}

/// What is to be done, by what happens to the actor.
#[derive(Debug, Default)]
struct Plan {
    /// The actor stays.
    stays: Vec<Stays>,
    /// The actor makes room for another.
    replaced: Vec<Seat>,
    /// There is no actor yet.
    fresh: Vec<(SubscriptionSpec, Subscription)>,
    /// The actor goes for good.
    gone: Vec<Seat>,
}

/// A subscription whose actor stays.
#[derive(Debug)]
struct Stays {
    seat: Seat,
    /// What the store is to be told, where that differs.
    spec: Option<SubscriptionSpec>,
    /// What the actor is to be told, where that differs.
    told: Option<Rewired>,
}

impl Bus {
    /// Takes another wiring: all of it, or nothing.
    ///
    /// # Errors
    /// [`ReloadError::NotNow`] when attempts do not end in time or the bus ends; [`ReloadError::Query`] when
    /// the store has failed.
    pub async fn rewire(&self, rewire: Rewire) -> Result<(), ReloadError> {
        let inner = &self.0;
        let _alone = inner.crew.rewiring.lock().await;
        let _busy = inner.crew.activity.begin();
        if inner.health.readiness() != Readiness::Ready {
            return Err(ReloadError::NotNow { why: "the bus is not running".to_owned() });
        }
        let Rewire { subscriptions, patience, told, operator } = rewire;
        let plan = Plan::new(inner.crew.seats(), subscriptions);
        let leaving: Vec<Port> = plan.gone.iter().chain(&plan.replaced).map(|s| s.port.clone()).collect();
        fall_quiet(&leaving, patience).await?;
        // Read before anything is decided: after the commit there is no way back.
        let names = plan.coming();
        let standing = match self.read(move |inner| inner.standing(names)).await {
            Ok(standing) => standing,
            Err(error) => {
                leaving.iter().for_each(Port::stay);
                return Err(error.into());
            }
        };
        let fact = operator.fact("tidegate.wiring.reloaded", "wiring", told);
        let fact = fact.and_then(|fact| inner.routing.fact(fact, inner.clock.now()));
        let answer = inner.submitter.commit(plan.changes(fact)).await;
        let Some(Ok(receipts)) = answer else {
            leaving.iter().for_each(Port::stay);
            return Err(ReloadError::Query(QueryError::Store(match answer {
                Some(Err(failure)) => failure,
                Some(Ok(_)) | None => stopped(),
            })));
        };
        // Who was told by nobody is gone already.
        drop(join_all(leaving.iter().map(Port::end)).await);
        inner.seat(plan, &receipts, &standing);
        Ok(())
    }
}

/// Waits until nothing of these subscriptions is under way; what takes too long is interrupted and counts as
/// nothing. When even that does not help they all go on as before.
async fn fall_quiet(leaving: &[Port], patience: Duration) -> Result<(), ReloadError> {
    // Who does not answer is gone already.
    let mut all = pin!(join_all(leaving.iter().map(Port::leave)));
    if timeout(patience, all.as_mut()).await.is_ok() {
        return Ok(());
    }
    leaving.iter().for_each(Port::interrupt);
    if timeout(INTERRUPTED, all.as_mut()).await.is_ok() {
        return Ok(());
    }
    let running: Vec<&str> =
        leaving.iter().filter(|port| port.inflight() > 0).map(|port| &*port.name).collect();
    let why = format!("attempts of {} do not end; reload again when they have", running.join(", "));
    leaving.iter().for_each(Port::stay);
    Err(ReloadError::NotNow { why })
}

impl Plan {
    fn new(seats: BTreeMap<SubscriptionId, Seat>, new: Vec<(SubscriptionSpec, Subscription)>) -> Self {
        let mut plan = Self::default();
        let mut seats: BTreeMap<String, Seat> =
            seats.into_values().map(|seat| (seat.spec.name.clone(), seat)).collect();
        for (spec, mut wired) in new {
            let Some(seat) = seats.remove(&spec.name) else {
                plan.fresh.push((spec, wired));
                continue;
            };
            let goes_on = seat.wired.goes_on_as(&wired);
            let is_other = seat.spec.on != spec.on || seat.spec.filter != spec.filter;
            let changed = is_other.then(|| spec.clone());
            let told = Some(wired.rewired()).filter(|new| *new != seat.wired.rewired());
            wired.at_start = seat.wired.at_start.clone();
            let seat = Seat { spec, wired, ..seat };
            if goes_on {
                plan.stays.push(Stays { seat, spec: changed, told });
            } else {
                plan.replaced.push(seat);
            }
        }
        plan.gone = seats.into_values().collect();
        plan
    }

    /// The names of those that get an actor.
    fn coming(&self) -> Vec<String> {
        let fresh = self.fresh.iter().map(|(spec, _)| spec.name.clone());
        fresh.chain(self.replaced.iter().map(|seat| seat.spec.name.clone())).collect()
    }

    /// What the store is told, in the order in which [`Inner::seat`] reads the answers: the new ones first.
    fn changes(&self, fact: Option<Routed>) -> Vec<Change> {
        let fresh = self.fresh.iter().map(|(spec, _)| spec);
        let replaced = self.replaced.iter().map(|seat| &seat.spec);
        let stays = self.stays.iter().filter_map(|stays| stays.spec.as_ref());
        let attached = fresh.chain(replaced).chain(stays).map(|spec| Change::Attach(spec.clone()));
        // Its attempts have ended: the process will not have died of them.
        let orphaned = self.gone.iter().flat_map(|seat| {
            let name = seat.spec.name.clone();
            [Change::Orphan(seat.port.id), Change::Keep { shelf: Shelf::Suspect, name, value: None }]
        });
        // Who goes is not told of it: it would be the last thing that nobody handles.
        let fact = fact.map(|mut routed| {
            routed.routes.retain(|id| self.gone.iter().all(|seat| seat.port.id != *id));
            Change::Publish(vec![routed])
        });
        attached.chain(orphaned).chain(fact).collect()
    }
}

/// What a person has switched of a subscription that gets an actor.
#[derive(Debug, Clone)]
struct Standing {
    paused: bool,
    bus_paused: bool,
    parked_keys: Vec<String>,
}

impl Inner {
    /// What the store knows beside the queues, now that the actors before are gone.
    fn standing(&self, names: Vec<String>) -> Result<BTreeMap<String, Standing>, QueryError> {
        let (records, bus_paused) = (self.reader.subscriptions()?, self.is_bus_paused()?);
        let mut standing = BTreeMap::new();
        for name in names {
            let paused = records.iter().any(|record| record.name == name && record.paused);
            let parked_keys = parked_keys(&*self.reader, &name)?;
            standing.insert(name, Standing { paused, bus_paused, parked_keys });
        }
        Ok(standing)
    }

    /// Puts the plan in force; the store knows it already, and nobody sits where somebody is to come.
    fn seat(&self, plan: Plan, receipts: &[Receipt], standing: &BTreeMap<String, Standing>) {
        let Plan { stays, replaced, fresh, gone } = plan;
        let fresh = receipts.iter().zip(fresh).filter_map(|(receipt, (spec, wired))| {
            let Receipt::Subscribed(id) = receipt else { return None };
            Some(Seat::new(*id, spec, wired, &self.crew.activity, &self.crew.bell))
        });
        let mut coming: Vec<Seat> = fresh.chain(replaced.into_iter().map(Seat::renewed)).collect();
        for seat in &mut coming {
            if let Some(Standing { paused, bus_paused, parked_keys }) = standing.get(&seat.spec.name) {
                seat.wired.paused = *paused;
                seat.wired.at_start.bus_paused = *bus_paused;
                seat.wired.at_start.parked_keys.clone_from(parked_keys);
                if seat.wired.limits.order == Order::Key {
                    for key in parked_keys {
                        seat.port.show_parked(key, true);
                    }
                }
            }
        }
        let staying = stays.iter().map(|stays| &stays.seat);
        let seats: BTreeMap<SubscriptionId, Seat> =
            staying.chain(&coming).map(|seat| (seat.port.id, seat.clone())).collect();
        self.ports.switch(seats.iter().map(|(id, seat)| (*id, seat.port.clone())).collect());
        for seat in &gone {
            seat.inbox.close();
        }
        for Stays { seat, told, spec: _ } in stays {
            if let Some(told) = told {
                seat.port.rewire(told);
            }
        }
        for seat in &coming {
            self.man(seat);
        }
        let filters = seats.iter().map(|(id, seat)| (*id, seat.spec.filter.clone()));
        self.routing.switch(seats.iter().map(|(id, seat)| (*id, seat.patterns())).collect(), filters);
        self.crew.set_seats(seats);
    }
}
