//! The kit of the suite: a store with a clock, short ways to say what happens, and a picture of
//! everything that can be read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use crate::event::{Envelope, EventName, Label, Timestamp};
use crate::store::{
    Append, AtHand, Change, DeadReason, Lookup, Ordinal, Outcome, Published, Queued, Reader, Receipt, Repair,
    RepairAct, Routed, Seq, Settle, Shelf, Store, StoreSettings, SubscriptionId, SubscriptionSpec,
};

/// A store under test.
pub struct World<'a> {
    /// The store.
    pub store: Option<Box<dyn Store>>,
    /// The time now.
    pub now: Timestamp,
    /// The keys that were used.
    pub keys: BTreeSet<String>,
    engine: &'a mut dyn Engine,
    settings: StoreSettings,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<'a> World<'a> {
    /// A fresh store with short times: status 1 h, dedupe window 4 h.
    pub fn new(engine: &'a mut dyn Engine) -> Self {
        let settings = StoreSettings {
            status_ttl: Duration::from_hours(1),
            dedupe_window: Duration::from_hours(4),
            retention: Duration::from_hours(1),
            ..StoreSettings::default()
        };
        Self::with(engine, settings)
    }

    /// A fresh store with these settings.
    pub fn with(engine: &'a mut dyn Engine, settings: StoreSettings) -> Self {
        let store = Some(engine.open(&settings));
        Self { store, now: Timestamp(1_800_000_000_000), keys: BTreeSet::new(), engine, settings }
    }

    /// The store.
    pub fn store(&mut self) -> &mut dyn Store {
        self.store.as_deref_mut().unwrap()
    }

    /// A reader of it.
    pub fn reader(&self) -> Arc<dyn Reader> {
        self.store.as_ref().unwrap().reader()
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// Lets time pass and all upkeep be done.
    pub fn pass_and_maintain(&mut self, time: Duration) {
        self.pass(time);
        let now = self.now;
        for _ in 0..100_000 {
            if !self.store().maintain(now).unwrap() {
                self.store().sync().unwrap();
                return;
            }
        }
        panic!("maintain always says that more work waits");
    }

    /// One change, synced, with a slice of upkeep behind it.
    pub fn apply(&mut self, change: Change) -> Receipt {
        match &change {
            Change::Settle(Settle { key, .. }) => _ = self.keys.insert(key.to_string()),
            Change::Defer { key, .. } => _ = self.keys.insert(key.clone()),
            _ => {}
        }
        let now = self.now;
        let receipt = self.store().stage(now, &mut vec![change]).unwrap().remove(0);
        self.store().sync().unwrap();
        self.store().maintain(now).unwrap();
        self.store().sync().unwrap();
        receipt
    }

    /// A new subscription to everything.
    pub fn subscribe(&mut self, name: &str) -> SubscriptionId {
        self.subscribe_since(name, None)
    }

    /// A subscription that may look back.
    pub fn subscribe_since(&mut self, name: &str, since: Option<Timestamp>) -> SubscriptionId {
        let spec = SubscriptionSpec {
            name: name.to_owned(),
            step: format!("{name}_step"),
            on: vec![">".to_owned()],
            since,
            filter: crate::event::Filter::default(),
        };
        match self.apply(Change::Subscribe(spec)) {
            Receipt::Subscribed(id) => id,
            other => panic!("not subscribed: {other:?}"),
        }
    }

    /// Publishes a batch.
    pub fn publish_all(&mut self, events: Vec<Routed>) -> (Vec<Published>, Vec<Append>) {
        match self.apply(Change::Publish(events)) {
            Receipt::Published { events, appended } => (events, appended),
            other => panic!("not published: {other:?}"),
        }
    }

    /// Publishes one event.
    pub fn publish(&mut self, id: &str, routes: &[SubscriptionId]) -> Seq {
        self.publish_all(vec![routed(id, routes)]).0[0].seq
    }

    /// Settles and expects that it counts.
    pub fn settle(&mut self, settle: Settle) -> Vec<Append> {
        match self.apply(Change::Settle(settle)) {
            Receipt::Applied { appended, .. } => appended,
            other => panic!("not settled: {other:?}"),
        }
    }

    /// A repair and what it put back.
    pub fn repair(&mut self, subscription: SubscriptionId, seq: Seq, retry: bool) -> Receipt {
        self.mend(subscription, seq, if retry { RepairAct::Retry { due: None } } else { RepairAct::Skip })
    }

    /// A repair of any kind.
    pub fn mend(&mut self, subscription: SubscriptionId, seq: Seq, act: RepairAct) -> Receipt {
        let (reason, by) = ("by test".to_owned(), String::new());
        self.apply(Change::Repair(Repair { subscription, seq, act, reason, by }))
    }

    /// What is ready in a queue.
    pub fn queue(&self, subscription: SubscriptionId) -> Vec<u64> {
        ordinals(&self.reader().queue(subscription, Ordinal(0), 10_000).unwrap())
    }

    /// What is deferred and free in a key.
    pub fn deferred(&self, subscription: SubscriptionId, key: &str) -> Vec<u64> {
        ordinals(&self.reader().deferred(subscription, key, 100).unwrap())
    }

    /// Puts a delivery aside.
    pub fn defer(&mut self, subscription: SubscriptionId, ordinal: u64, key: &str) {
        let receipt =
            self.apply(Change::Defer { subscription, ordinal: Ordinal(ordinal), key: key.to_owned() });
        assert!(matches!(receipt, Receipt::Applied { .. }), "not deferred: {receipt:?}");
    }

    /// Drops the store without closing it and opens it again.
    pub fn crash(&mut self) {
        drop(self.store.take());
        self.store = Some(self.engine.open(&self.settings));
    }

    /// Closes the store and opens it again.
    pub fn reopen(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.store = Some(self.engine.open(&self.settings));
    }

    /// Compares what is read now with what is read after a crash and after a clean close.
    pub fn finish(mut self) {
        if !self.store().features().durable {
            return;
        }
        self.store().sync().unwrap();
        let before = snapshot(&*self.reader(), &self.keys);
        self.crash();
        assert_eq!(before, snapshot(&*self.reader(), &self.keys), "after a crash");
        self.reopen();
        assert_eq!(before, snapshot(&*self.reader(), &self.keys), "after a clean close");
    }
}

/// An event `id` of flow `flow-<id up to the first dash>` with its id as payload.
pub fn envelope(id: &str) -> Envelope {
    let label = Label {
        id: id.to_owned(),
        source: "/test".to_owned(),
        name: EventName::new("test.happened").unwrap(),
        time: Timestamp(1_700_000_000_000),
        key: "k".to_owned(),
        flow: format!("flow-{}", id.split('-').next().unwrap_or(id)),
        causation: None,
    };
    Envelope::new(label, Bytes::from(format!("\"{id}\"")))
}

/// The event with its routes.
pub fn routed(id: &str, routes: &[SubscriptionId]) -> Routed {
    Routed::new(Arc::new(envelope(id)), routes.to_vec())
}

/// A plain settle of the key `k`.
pub fn settle(subscription: SubscriptionId, ordinal: u64, seq: Seq, outcome: Outcome) -> Settle {
    Settle {
        subscription,
        ordinal: Ordinal(ordinal),
        seq,
        key: "k".into(),
        outcome,
        state: None,
        emits: Vec::new(),
        result: None,
        undos: Vec::new(),
        pivot: false,
        keep_states: false,
        waited_ms: 1,
        ran_ms: 2,
        counted: true,
    }
}

/// A retry at `due`.
pub fn retry(due: Timestamp) -> Outcome {
    Outcome::Retry { due, error: "not yet".to_owned() }
}

/// A dead letter.
pub fn dead(parks: bool) -> Outcome {
    Outcome::Dead { reason: DeadReason::Attempts, error: "gave up".to_owned(), parks }
}

/// The ordinals alone.
pub fn ordinals(queued: &[Queued]) -> Vec<u64> {
    queued.iter().map(|queued| queued.ordinal.0).collect()
}

/// What is at hand, if it is, reads as what is asked for piece by piece. Answers whether it is.
pub(in crate::store) fn check_at_hand(reader: &dyn Reader, identity: crate::event::Identity) -> bool {
    let at_hand = reader.at_hand(identity);
    // Asked for afterwards: it may be at hand from then on, and has to stay true.
    let stands = reader.stands(identity).unwrap();
    for found in at_hand.iter().chain(&stands) {
        let AtHand { seq, flow, events } = &**found;
        assert_eq!(reader.find(identity).unwrap(), Lookup::Known(*seq));
        let own = events.iter().find(|event| event.seq == *seq).unwrap();
        assert_eq!(reader.flow(&own.flow).unwrap().as_ref(), Some(flow));
        let read: Vec<_> = flow.events.iter().map(|seq| reader.event(*seq).unwrap().unwrap()).collect();
        assert_eq!(*events, read);
    }
    at_hand.is_some()
}

/// Everything that can be read, one line for each thing.
pub fn snapshot(reader: &dyn Reader, keys: &BTreeSet<String>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut flows = BTreeSet::new();
    let subscriptions = reader.subscriptions().unwrap();
    for seq in (1..=reader.stats().events).map(Seq) {
        let event = reader.event(seq).unwrap();
        if let Some(event) = &event {
            flows.insert(event.flow.clone());
            let identity = crate::event::Identity::of(&event.source, &event.id);
            lines.push(format!("found {seq:?} {:?}", reader.find(identity).unwrap()));
            lines.push(format!("payload {seq:?} {:?}", reader.envelope(seq).unwrap()));
            check_at_hand(reader, identity);
            assert_eq!(reader.flow_of(seq).unwrap(), reader.flow(&event.flow).unwrap(), "of event {seq:?}");
        }
        for subscription in &subscriptions {
            lines.push(format!("effects {seq:?} {:?}", reader.effects(subscription.id, seq).unwrap()));
        }
        lines.push(format!("event {seq:?} {event:?}"));
    }
    lines.extend(flows.iter().map(|flow| format!("flow {flow} {:?}", reader.flow(flow).unwrap())));
    lines.extend(flows.iter().map(|flow| format!("undoing {flow} {:?}", reader.undoing(flow).unwrap())));
    let going_back = reader.kept(Shelf::Compensation, "", None, 1_000).unwrap();
    lines.push(format!("going back {going_back:?}"));
    for subscription in &subscriptions {
        let id = subscription.id;
        lines.push(format!("{subscription:?}"));
        let queue = reader.queue(id, Ordinal(0), 1_000).unwrap();
        lines.extend(queue.iter().map(|queued| format!("queue {id:?} {queued:?}")));
        let pending = reader.pending(id, Ordinal(0), 1_000).unwrap();
        for row in &pending {
            lines.push(format!("pending {id:?} {row:?} {:?}", reader.delivery(id, row.ordinal).unwrap()));
        }
        for key in keys {
            lines.push(format!("deferred {id:?} {key} {:?}", reader.deferred(id, key, 1_000).unwrap()));
            lines.push(format!("state {id:?} {key} {:?}", reader.state(id, key).unwrap()));
        }
    }
    let letters = reader.dead_letters(None, None, 1_000).unwrap();
    lines.extend(letters.iter().map(|letter| format!("{letter:?}")));
    for subscription in &subscriptions {
        let filtered = reader.filtered(subscription.id, None, 1_000).unwrap();
        lines.extend(filtered.iter().map(|event| format!("filtered {:?} {:?}", subscription.id, event.seq)));
    }
    let unrouted = reader.unrouted(None, 1_000).unwrap();
    lines.extend(unrouted.iter().map(|event| format!("unrouted {:?}", event.seq)));
    lines.push(format!("unrouted {}", reader.stats().unrouted));
    for group in reader.dead_groups(None, None, 1_000).unwrap() {
        let letters = reader.grouped(group.subscription, group.group, None, 1_000).unwrap();
        assert_eq!(letters.len() as u64, group.count, "{group:?}");
        lines.push(format!("{group:?} {:?}", letters.iter().map(|letter| letter.seq).collect::<Vec<_>>()));
    }
    lines.push(format!("due {:?}", reader.due(Timestamp(u64::MAX), 1_000).unwrap()));
    for shelf in Shelf::ALL {
        lines.push(format!("kept {shelf:?} {:?}", reader.kept(shelf, "", None, 1_000).unwrap()));
    }
    lines.push(format!("facts {:?}", reader.facts(None, 1_000).unwrap()));
    lines.push(format!("overdue {:?}", reader.overdue(Timestamp(u64::MAX), 1_000).unwrap()));
    lines.push(format!("delayed {}", reader.stats().delayed));
    lines.push(format!("durable {:?}", reader.durable()));
    lines
}
