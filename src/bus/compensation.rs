//! Compensation: takes flows back, undo by undo (`docs/adr/0010-compensation.md`).
//!
//! The driver keeps nothing of its own: what is to be done next is read from the store, and the store takes
//! it only when it is still the next thing. It looks at a flow when something of it was committed or an
//! attempt of it has ended.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::{error, info, warn};

use super::handle::{Bus, Inner};
use super::health::Health;
use super::query::applied;
use super::view::{CompensationView, FlowStatus};
use super::{Operator, QueryError};
use crate::clock::Clock;
use crate::committer::Submitter;
use crate::delivery::{Compensations, Mended, Port, Ports, Routing};
use crate::event::{Envelope, Fact};
use crate::store::{
    Change, Compensate, CompensationRecord, CompensationState, DeliveryState, OpenDelivery, Ordinal, Reader,
    Receipt, Repair, RepairAct, Routed, Shelf, StoreError, Undoing,
};

/// Flows looked at together.
const BATCH: usize = 128;

/// How long the task waits after an error of the store before it looks again.
const TRY_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Flows read at a time at the start.
const PAGE: usize = 512;
/// Why forward deliveries of such a flow are given up.
const WHY: &str = "the flow is being undone";

/// The task that takes flows back.
pub(crate) struct Driver {
    reader: Arc<dyn Reader>,
    submitter: Submitter,
    routing: Routing,
    ports: Ports,
    compensations: Compensations,
    clock: Clock,
    health: Health,
    pool: Handle,
    /// The standstill that was told last of a flow.
    told: HashMap<String, String>,
}

/// What a look at some flows has brought.
#[derive(Default)]
struct Plan {
    changes: Vec<Change>,
    /// Dead letters that are skipped by the change at this place.
    skipped: Vec<(usize, Port, Ordinal, String)>,
}

/// Notes the flows that were being undone when the process ended, before any of their deliveries may start.
pub(super) fn restore(reader: &dyn Reader, compensations: &Compensations) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    loop {
        let page = reader.kept(Shelf::Compensation, "", after.as_deref(), PAGE)?;
        for (_, flow) in &page {
            compensations.begin(&String::from_utf8_lossy(flow));
        }
        match page.last() {
            Some((name, _)) if page.len() == PAGE => after = Some(name.clone()),
            _ => return Ok(()),
        }
    }
}

/// Starts the task.
pub(super) fn start(inner: &Inner) {
    let driver = Driver {
        reader: Arc::clone(&inner.reader),
        submitter: inner.submitter.clone(),
        routing: inner.routing.clone(),
        ports: inner.ports.clone(),
        compensations: inner.compensations.clone(),
        clock: inner.clock.clone(),
        health: inner.health.clone(),
        pool: inner.pool.clone(),
        told: HashMap::new(),
    };
    inner.pool.spawn(driver.run());
}

impl Driver {
    async fn run(mut self) {
        loop {
            let (flows, busy) = self.compensations.touched(BATCH).await;
            let again = flows.clone();
            // When the bus has ended what is left is done at the next start. The task goes on until then: whoever
            // touches a flow counts as work in hand that somebody has to take.
            if let Err(error) = self.go_on(flows).await {
                error!(%error, "cannot read how far flows are undone");
                tokio::time::sleep(TRY_AGAIN).await;
                // Not in a bus that has ended: it would never be idle.
                if !self.health.is_ending() {
                    for flow in &again {
                        self.compensations.touch(flow);
                    }
                }
            }
            drop(busy);
        }
    }

    /// Does the next thing for each of the flows.
    async fn go_on(&mut self, flows: Vec<String>) -> Result<(), StoreError> {
        let reader = Arc::clone(&self.reader);
        let read = self.pool.spawn_blocking(move || {
            let read = |flow: String| reader.undoing(&flow).map(|found| (flow, found));
            flows.into_iter().map(read).collect::<Result<Vec<_>, _>>()
        });
        let Ok(found) = read.await else { return Ok(()) };
        let mut plan = Plan::default();
        for (flow, undoing) in found? {
            if let Some(undoing) = undoing {
                self.plan(&flow, undoing, &mut plan);
            } else {
                self.compensations.end(&flow);
                self.told.remove(&flow);
            }
        }
        let Plan { changes, skipped } = plan;
        if changes.is_empty() {
            return Ok(());
        }
        let answer = self.submitter.commit_then(changes, move |answer| {
            let Ok(receipts) = answer else { return };
            for (at, port, ordinal, key) in skipped {
                if receipts.get(at).is_some_and(applied) {
                    port.repaired(ordinal, key, Mended::Released);
                }
            }
        });
        drop(answer.await);
        Ok(())
    }

    fn plan(&mut self, flow: &str, undoing: Undoing, plan: &mut Plan) {
        let Undoing { record, next, open } = undoing;
        let is_running = |delivery: &&OpenDelivery| {
            self.ports.get(&delivery.subscription).is_some_and(|port| port.running(delivery.seq).is_some())
        };
        let (running, resting): (Vec<_>, Vec<_>) =
            open.iter().filter(|delivery| !delivery.is_undo).partition(is_running);
        self.give_up(&resting, plan);
        if record.state != CompensationState::Undoing || !running.is_empty() {
            // What runs may still record an undo, or pass the point of no return.
            return;
        }
        if record.is_stuck() {
            self.tell_stuck(flow, &record, &open, plan);
        } else if record.open > 0 {
            self.told.remove(flow);
        } else if let Some(undo) = next {
            info!(flow, undo = %undo.name, left = record.left, "undoing");
            plan.changes.push(self.next(flow, &undo));
        } else {
            info!(flow, undone = record.undone, "the flow is undone");
            let end = Change::Compensate(Compensate::End { flow: flow.to_owned() });
            let data = serde_json::json!({
                "flow": flow, "undone": record.undone, "by": record.by, "reason": record.reason,
            });
            let fact = Fact::new("tidegate.flow.compensated", &[flow, &record.since.0.to_string()], &data);
            plan.changes.push(Change::With { change: Box::new(end), facts: self.routed(fact, flow) });
        }
    }

    /// Lets go of what lies in the way of coming to rest: it will not run any more.
    fn give_up(&self, resting: &[&OpenDelivery], plan: &mut Plan) {
        let mut released = BTreeSet::new();
        for delivery in resting {
            let port = self.ports.get(&delivery.subscription);
            let (subscription, seq) = (delivery.subscription, delivery.seq);
            let key = delivery.key.clone().unwrap_or_default();
            match (&delivery.state, delivery.ordinal) {
                (DeliveryState::Dead { .. }, Some(ordinal)) => {
                    let skipped = port.map(|port| (plan.changes.len(), port, ordinal, key));
                    plan.skipped.extend(skipped);
                    let repair = Repair {
                        subscription,
                        seq,
                        act: RepairAct::Skip,
                        reason: WHY.to_owned(),
                        by: String::new(),
                    };
                    plan.changes.push(Change::Repair(repair));
                }
                (DeliveryState::Waiting { .. }, Some(ordinal)) => {
                    if let Some(port) = port {
                        port.hasten(ordinal, key);
                    }
                }
                (_, None) => {
                    if released.insert(seq) {
                        plan.changes.push(Change::Release(seq));
                    }
                }
                // Skipped when its turn comes.
                (
                    DeliveryState::Ready
                    | DeliveryState::Deferred
                    | DeliveryState::Done
                    | DeliveryState::Skipped,
                    Some(_),
                ) => {}
            }
        }
    }

    /// Emits an undo, to whoever listens by the wiring of today.
    fn next(&self, flow: &str, undo: &Envelope) -> Change {
        let mut event = undo.clone();
        event.time = self.clock.now();
        let undo = self.routing.routed(Arc::new(event));
        if undo.routes.is_empty() {
            warn!(flow, undo = %undo.event.name, "nobody listens to this undo; nothing is done for it");
        }
        Change::Compensate(Compensate::Next { flow: flow.to_owned(), undo })
    }

    /// Says once for each standstill that a person is needed.
    fn tell_stuck(
        &mut self,
        flow: &str,
        record: &CompensationRecord,
        open: &[OpenDelivery],
        plan: &mut Plan,
    ) {
        let name =
            |id| self.ports.get(&id).map_or_else(|| format!("#{}", id.0), |port| port.name.to_string());
        let undos = || open.iter().filter(|delivery| delivery.is_undo);
        let letters: Vec<String> =
            undos().map(|dead| super::render::dead_letter_id(&name(dead.subscription), dead.seq)).collect();
        let attempts: Vec<String> = undos().map(|dead| dead.attempts.to_string()).collect();
        let standstill = format!("{} {}", letters.join(" "), attempts.join(" "));
        if self.told.get(flow) == Some(&standstill) {
            return;
        }
        warn!(flow, dead_letters = letters.join(" "), "an undo failed for good; the flow is stuck");
        let data = serde_json::json!({
            "flow": flow, "dead_letters": letters, "undone": record.undone, "left": record.left,
            "by": record.by, "reason": record.reason,
        });
        let since = record.since.0.to_string();
        let fact = Fact::new("tidegate.flow.stuck", &[flow, &since, &standstill], &data);
        let facts = self.routed(fact, flow);
        self.told.insert(flow.to_owned(), standstill);
        if !facts.is_empty() {
            plan.changes.push(Change::Publish(facts));
        }
    }

    fn routed(&self, fact: Option<Fact>, flow: &str) -> Vec<Routed> {
        let fact = fact.map(|fact| fact.about(flow, flow));
        fact.and_then(|fact| self.routing.fact(fact, self.clock.now())).into_iter().collect()
    }
}

impl Bus {
    /// Has a flow undone: what was recorded to undo its steps is emitted, the last one first, and nothing else
    /// of it runs any more. A flow that is undone already is answered as it stands.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::Refused`] past the flow's point of no return.
    pub async fn cancel_flow(&self, flow: &str, operator: Operator) -> Result<FlowStatus, QueryError> {
        let fact = operator.fact("tidegate.flow.cancelled", flow, serde_json::json!({ "flow": flow }));
        let begin = Compensate::Begin { flow: flow.to_owned(), by: operator.by, reason: operator.reason };
        let (compensations, named) = (self.0.compensations.clone(), flow.to_owned());
        let tell = move |receipt: &Receipt| {
            if applied(receipt) {
                compensations.begin(&named);
            }
        };
        let receipt = self.act_and_tell(Change::Compensate(begin), fact, tell).await?;
        let found = self.flow(flow).await?;
        let is_undone = found.compensation.as_ref().is_some_and(|back| back.state != "called_off");
        if applied(&receipt) || is_undone {
            return Ok(found.status);
        }
        Err(QueryError::Refused { why: format!("flow {flow} is past its point of no return") })
    }
}

/// How far a flow is undone, as people read it.
pub(super) fn compensation_view(record: &CompensationRecord) -> CompensationView {
    let state = match record.state {
        CompensationState::Undoing if record.is_stuck() => "stuck",
        CompensationState::Undoing => "compensating",
        CompensationState::Done => "compensated",
        CompensationState::CalledOff => "called_off",
    };
    CompensationView {
        state: state.to_owned(),
        undone: record.undone,
        left: record.left,
        by: record.by.clone(),
        reason: record.reason.clone(),
        since: super::render::timestamp(record.since),
    }
}
