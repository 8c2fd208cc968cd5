//! The shipped flow, wired as `config/topology.toml` says, in every interleaving that chance comes up with:
//! no money is made or lost, and every order ends exactly once.
//!
//! The bus is a stand-in of a few lines here: one lane for each subscription and key, the next lane drawn at
//! random; attempts "crash" before or after the bank has answered and come again.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's stand-ins fail by panicking")]

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate::Registry;
use tidegate::event::{Envelope, EventName, PatternSet, emitted_id};
use tidegate::step::{ErasedStep, StepError, TestContext};
use tidegate_actors::{AppSettings, steps};

const ACCOUNTS: [&str; 5] = ["alice", "bob", "carol", "outage-1", "stolen-1"];
const FUNDS: [&str; 3] = ["world", "europe", "moon"];
const ENDINGS: [&str; 3] = ["purchase.completed", "purchase.refused", "purchase.refund_completed"];

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

struct Subscription {
    on: PatternSet,
    step: Arc<dyn ErasedStep>,
    tries: u32,
}

struct Delivery {
    test: TestContext,
    dead: bool,
}

/// A stand-in for the bus.
struct Bus {
    registry: Registry,
    dice: Dice,
    subscriptions: BTreeMap<String, Subscription>,
    lanes: BTreeMap<(String, String), VecDeque<Delivery>>,
    states: BTreeMap<(String, String), Vec<u8>>,
    results: BTreeMap<String, Value>,
    events: Vec<Envelope>,
}

impl Bus {
    fn open(data: &Path, seed: u64) -> Self {
        let registry = steps(&AppSettings::default(), data).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/topology.toml");
        let wiring: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
        let mut subscriptions = BTreeMap::new();
        for (name, table) in wiring["subscription"].as_table().unwrap() {
            let on: Vec<_> = table["on"].as_array().unwrap().iter().map(|on| on.as_str().unwrap()).collect();
            let step = registry.get(table["step"].as_str().unwrap()).unwrap();
            let tries = table.get("retry").map_or(12, |retry| retry["max_attempts"].as_integer().unwrap());
            let tries = u32::try_from(tries).unwrap();
            subscriptions
                .insert(name.clone(), Subscription { on: PatternSet::parse(&on).unwrap(), step, tries });
        }
        let dice = Dice(seed);
        let (lanes, states, results) = Default::default();
        Self { registry, dice, subscriptions, lanes, states, results, events: Vec::new() }
    }

    fn publish(&mut self, name: &str, id: &str, data: &Value) {
        let mut event = TestContext::new().event;
        event.name = EventName::new(name).unwrap();
        id.clone_into(&mut event.id);
        event.flow = format!("flow-{id}");
        event.data = data.to_string().into();
        self.append(event);
    }

    fn append(&mut self, mut event: Envelope) {
        event.key = self.registry.key_of(&event.name, &event.data).unwrap_or_default();
        for (name, subscription) in &self.subscriptions {
            if subscription.on.matches(&event.name) {
                let key = subscription.step.lane_key(&event).unwrap();
                let mut test = TestContext::new();
                test.event = event.clone();
                test.subscription.clone_from(name);
                test.key.clone_from(&key);
                self.lanes.entry((name.clone(), key)).or_default().push_back(Delivery { test, dead: false });
            }
        }
        self.events.push(event);
    }

    /// Runs one attempt of a lane drawn at random; false when none can move.
    async fn turn(&mut self) -> bool {
        let open: Vec<_> =
            self.lanes.iter().filter(|(_, lane)| lane.front().is_some_and(|head| !head.dead)).collect();
        if open.is_empty() {
            return false;
        }
        let lane = open[self.dice.roll(open.len())].0.clone();
        let head = self.lanes.get_mut(&lane).unwrap().front_mut().unwrap();
        let subscription = &self.subscriptions[&lane.0];
        if head.test.attempt == 1 && self.dice.roll(5) == 0 {
            head.test.fail_next_record("charge");
            head.test.fail_next_record("refund");
        }
        let event = Arc::new(head.test.event.clone());
        let state = self.states.get(&lane).map(|state| state.clone().into());
        let step = Arc::clone(&subscription.step);
        let outcome = step.call(Arc::clone(&event), None, state, head.test.build()).await;
        if self.dice.roll(5) == 0 {
            return true; // A crash before the outcome was recorded: as if nothing had happened.
        }
        match outcome {
            Ok(handled) => {
                if let Some(state) = handled.state {
                    self.states.insert(lane.clone(), state.to_vec());
                }
                if let Some(result) = handled.result {
                    let former =
                        self.results.insert(event.flow.clone(), serde_json::from_slice(&result).unwrap());
                    assert_eq!(former, None, "flow {} resolved twice", event.flow);
                }
                self.lanes.get_mut(&lane).unwrap().pop_front();
                for (ordinal, emitted) in (0..).zip(handled.emits) {
                    let mut next = (*event).clone();
                    next.id = emitted_id(&event, &lane.0, 0, ordinal);
                    next.name = EventName::new(emitted.name).unwrap();
                    next.causation = Some(event.id.clone());
                    next.data = emitted.data;
                    self.append(next);
                }
            }
            Err(StepError::Retry { .. }) if head.test.attempt < subscription.tries => head.test.attempt += 1,
            Err(_) => head.dead = true,
        }
        true
    }

    async fn run(&mut self) {
        while self.turn().await {}
    }

    /// What a person does: retries every dead letter that can be helped.
    fn retry_dead(&mut self) -> usize {
        let heads = self.lanes.values_mut().filter_map(|lane| lane.front_mut());
        let dead = heads.filter(|head| head.dead && head.test.key != "stolen-1");
        dead.map(|head| (head.dead, head.test.attempt) = (false, 1)).count()
    }

    fn funds(&self, account: &str) -> Value {
        let lane = ("check_funds".to_owned(), account.to_owned());
        serde_json::from_slice(&self.states[&lane]).unwrap()
    }

    fn endings(&self, order: &str) -> Vec<&str> {
        let is_of =
            |event: &&Envelope| serde_json::from_slice::<Value>(&event.data).unwrap()["order"] == order;
        let names = self.events.iter().filter(is_of).map(|event| event.name.as_str());
        names.filter(|name| ENDINGS.contains(name)).collect()
    }
}

/// What the bank has charged less what it has paid back.
fn ledger(data: &Path, account: &str) -> i64 {
    let text = std::fs::read_to_string(data.join("bank.ledger")).unwrap_or_default();
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_account = entries.filter(|entry| entry["account"] == account);
    of_account
        .map(|entry| match entry["kind"].as_str().unwrap() {
            "charge" => entry["amount"].as_i64().unwrap(),
            "refund" => -entry["amount"].as_i64().unwrap(),
            _ => 0,
        })
        .sum()
}

#[tokio::test]
async fn money_is_kept_and_every_order_ends_once_in_any_interleaving() {
    let mut seen = BTreeMap::<String, u32>::new();
    for seed in 0..30 {
        let data = tempfile::tempdir().unwrap();
        let mut bus = Bus::open(data.path(), seed);
        for account in ACCOUNTS {
            bus.publish(
                "account.opened",
                &format!("open-{account}"),
                &json!({"account": account, "balance": 100}),
            );
        }
        for fund in &FUNDS[..2] {
            bus.publish("fund.opened", &format!("open-{fund}"), &json!({"fund": fund}));
        }
        let mut orders = Vec::new();
        for number in 0..25 {
            for _ in 0..bus.dice.roll(20) {
                bus.turn().await;
            }
            let order = format!("order-{number}");
            let known = bus.dice.roll(ACCOUNTS.len() + 1);
            let account = ACCOUNTS.get(known).copied().unwrap_or("nobody");
            let (fund, amount) = (FUNDS[bus.dice.roll(3)], bus.dice.roll(60));
            let data = json!({"order": order, "account": account, "fund": fund, "amount": amount});
            bus.publish("purchase.submitted", &order, &data);
            orders.push((order, account));
            if bus.dice.roll(6) == 0 {
                let name = if bus.dice.roll(2) == 0 { "fund.closed" } else { "fund.opened" };
                let fund = FUNDS[bus.dice.roll(2)];
                bus.publish(name, &format!("change-{number}"), &json!({ "fund": fund }));
            }
        }
        bus.run().await;
        check(&bus, data.path(), &format!("seed {seed}, before the repair"));

        bus.publish("bank.restored", "restored", &json!({"account": "outage-1"}));
        bus.run().await;
        while bus.retry_dead() > 0 {
            bus.run().await;
        }

        check(&bus, data.path(), &format!("seed {seed}, after the repair"));
        for (order, account) in orders.iter().filter(|(_, account)| *account != "stolen-1") {
            let endings = bus.endings(order);
            assert_eq!(endings.len(), 1, "seed {seed}: {order} of {account} ended with {endings:?}");
            let outcome = bus.results[&format!("flow-{order}")]["outcome"].as_str().unwrap();
            let expected =
                ["completed", "refused", "refunded"][ENDINGS.iter().position(|e| *e == endings[0]).unwrap()];
            assert_eq!(outcome, expected, "seed {seed}: {order}");
            *seen.entry(outcome.to_owned()).or_default() += 1;
        }
        for account in ACCOUNTS.iter().filter(|account| **account != "stolen-1") {
            assert_eq!(bus.funds(account)["held"], 0, "seed {seed}: {account}");
        }
    }
    assert_eq!(seen.len(), 3, "every kind of ending came up: {seen:?}");
}

/// At rest: the pots add up to what was opened, and what the bank took is what the flows say.
fn check(bus: &Bus, data: &Path, when: &str) {
    for account in ACCOUNTS {
        let funds = bus.funds(account);
        let pot = |name: &str| funds[name].as_i64().unwrap();
        assert_eq!(pot("balance") + pot("held") + pot("paid"), 100, "{when}: {account} {funds}");
        assert_eq!(pot("paid"), ledger(data, account), "{when}: {account} {funds}");
    }
}
