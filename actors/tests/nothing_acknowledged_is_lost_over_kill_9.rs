//! Kill -9 at random moments under load: what was acknowledged comes to its end, once, and the money agrees.
//!
//! Publishers write down what the server has acknowledged, in files of their own that they sync. What they
//! got no answer for they publish again with the same id. At the end the books of the bus, the outside bank
//! and the publishers are compared. `TIDEGATE_TEST_ROUNDS` sets how often it is killed in the first of the runs,
//! `TIDEGATE_VERIFY_SECONDS` how long the second one lasts.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they did"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Client, Dice, Server, Site, Watch, open, until};

const ACCOUNTS: [&str; 8] = ["a", "b", "c", "d", "e", "poor", "outage-1", "slow-1"];
const FUNDS: [&str; 2] = ["world", "moon"];
const OPENED: u64 = 1_000_000;
const PUBLISHERS: usize = 4;

/// What a publisher was told is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Purchase {
    account: String,
    fund: String,
    amount: u64,
}

/// All books, as they are at the end.
#[derive(Debug, Clone, Default)]
struct Books {
    acknowledged: BTreeMap<String, Purchase>,
    /// The status bodies; none for an id that is not known.
    statuses: BTreeMap<String, Option<Value>>,
    /// Lines of the bank.
    ledger: Vec<Value>,
    /// Per account: what `check_funds` and `audit` keep.
    funds: BTreeMap<String, Value>,
    audit: BTreeMap<String, Value>,
    /// Ids that were not answered as a repeat.
    not_replayed: Vec<String>,
}

impl Books {
    /// The lines of the bank by order and kind.
    fn entries(&self) -> BTreeMap<(&str, &str), Vec<&Value>> {
        let mut entries = BTreeMap::<_, Vec<_>>::new();
        for entry in &self.ledger {
            let place = (entry["order"].as_str().unwrap_or_default(), entry["kind"].as_str().unwrap());
            entries.entry(place).or_default().push(entry);
        }
        entries
    }

    fn unknown_to_publishers(&self) -> impl Iterator<Item = String> {
        let payments = self.ledger.iter().filter(|entry| entry["kind"] != "restored");
        let is_known =
            |order: &Value| order.as_str().is_some_and(|order| self.acknowledged.contains_key(order));
        payments
            .filter(move |entry| !is_known(&entry["order"]))
            .map(|entry| format!("the bank knows an order that nobody published: {entry}"))
    }

    /// Everything that does not add up.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let entries = self.entries();
        let of = |id, kind| entries.get(&(id, kind)).map_or(&[][..], Vec::as_slice);
        let mut paid = BTreeMap::<&str, u64>::new();
        let mut counts = BTreeMap::<(&str, &str), u64>::new();
        for (id, purchase) in &self.acknowledged {
            let account = purchase.account.as_str();
            *counts.entry((account, "purchase.submitted")).or_default() += 1;
            let outcome = match self.statuses.get(id) {
                Some(Some(status)) if status["status"] == "done" && status["open"] == 0 => {
                    status["result"]["outcome"].as_str().unwrap_or("nothing")
                }
                Some(Some(status)) => {
                    problems.push(format!("{id} is stuck: {status}"));
                    continue;
                }
                Some(None) | None => {
                    problems.push(format!("{id} is lost"));
                    continue;
                }
            };
            let (charges, refunds) = (of(id, "charge"), of(id, "refund"));
            let (wanted, ending) = match outcome {
                "completed" => ((1, 0), "purchase.completed"),
                "refunded" => ((1, 1), "purchase.refund_completed"),
                "refused" => ((0, 0), "purchase.refused"),
                other => {
                    problems.push(format!("{id} ended with {other}"));
                    continue;
                }
            };
            if (charges.len(), refunds.len()) != wanted {
                problems.push(format!("{id} was {outcome}, the bank has {charges:?} and {refunds:?}"));
            }
            if charges.iter().any(|c| c["amount"] != purchase.amount || c["account"] != account) {
                problems.push(format!("{id}: the bank was asked for something else: {charges:?}"));
            }
            *counts.entry((account, ending)).or_default() += 1;
            *paid.entry(account).or_default() += if outcome == "completed" { purchase.amount } else { 0 };
        }
        problems.extend(self.unknown_to_publishers());
        for (account, funds) in &self.funds {
            let paid = paid.get(account.as_str()).copied().unwrap_or_default();
            let wanted = json!({"balance": balance(account) - paid, "held": 0, "paid": paid, "holds": {}});
            if *funds != wanted {
                problems.push(format!("{account} has {funds}, the flows say {wanted}"));
            }
        }
        for ((account, name), wanted) in counts {
            let counted =
                self.audit.get(account).map_or(&Value::Null, |book| &book["by_name"][name]["count"]);
            if *counted != wanted {
                problems.push(format!("audit counted {counted} {name} of {account}, there were {wanted}"));
            }
        }
        problems
            .extend(self.not_replayed.iter().map(|id| format!("{id} was not known when it was repeated")));
        problems
    }
}

fn balance(account: &str) -> u64 {
    if account == "poor" { 200 } else { OPENED }
}

/// A publisher: publishes until it is told to stop, and what is under way until it is acknowledged.
fn publish(
    number: usize,
    slow_one_in: u64,
    mut dice: Dice,
    server: &RwLock<Option<Client>>,
    stop: &AtomicBool,
    folder: &Path,
) -> BTreeMap<String, Purchase> {
    let mut oracle = File::create(folder.join(format!("acknowledged-{number}"))).unwrap();
    let mut acknowledged = BTreeMap::new();
    for n in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        Watch::start().let_pass(Duration::from_millis(dice.roll(30)));
        // Slow ones are few: they wait for each other.
        let account = if dice.roll(slow_one_in) == 0 { "slow-1" } else { *dice.pick(&ACCOUNTS[..7]) };
        let fund = *dice.pick(&["world", "world", "world", "moon"]);
        let purchase = Purchase { account: account.into(), fund: fund.into(), amount: 1 + dice.roll(20) };
        let id = format!("p{number}-{n}");
        send(&id, &purchase, server);
        writeln!(oracle, "{id}").unwrap();
        oracle.sync_data().unwrap();
        acknowledged.insert(id, purchase);
    }
    acknowledged
}

/// Publishes until there is a yes. Anything else means "unknown", and the same id is safe.
fn send(id: &str, purchase: &Purchase, server: &RwLock<Option<Client>>) {
    let Purchase { account, fund, amount } = purchase;
    let data = json!({"order": id, "account": account, "fund": fund, "amount": amount});
    until(&format!("{id} is acknowledged"), || {
        let client = server.read().unwrap().clone().ok_or("the server is down")?;
        let post =
            client.post("/v1/events/purchase.submitted").header("idempotency-key", &format!("\"{id}\""));
        match post.json(&data).try_send() {
            Ok(reply) if reply.status == 202 => Ok(()),
            Ok(reply) if reply.status == 503 => Err("saturated".to_owned()),
            Ok(reply) => panic!("{id}: {reply:?}"),
            Err(error) => Err(error.to_string()),
        }
    });
}

/// How often it is killed, and how long it lives in between.
struct Torment {
    rounds: u64,
    life: fn(&mut Dice) -> Duration,
    /// One purchase in so many is of the slow account, of which one takes two seconds after the other.
    slow_one_in: u64,
    /// While it lives, a person pauses, resumes, and retries what is dead.
    is_operated: bool,
}

/// What a person does in the middle of it all; the server may die under it at any time.
fn meddle(client: &Client, round: u64) {
    let subscription = ["pay", "allot_shares", "check_funds"][usize::try_from(round % 3).unwrap()];
    let post = |path: &str| client.post(path).json(&json!({"reason": "in the middle"})).try_send();
    drop(post(&format!("/v1/subscriptions/{subscription}/pause")));
    let dead = client.get("/v1/dead-letters?limit=5").try_send();
    for letter in
        dead.map(|reply| reply.json()["items"].as_array().cloned().unwrap_or_default()).unwrap_or_default()
    {
        drop(post(&format!("/v1/dead-letters/{}/retry", letter["id"].as_str().unwrap())));
    }
    drop(post(&format!("/v1/subscriptions/{subscription}/resume")));
}

/// Another subscription that comes and goes.
const LEDGER: &str = "\n[subscription.ledger]\nstep = \"audit\"\non = [\"purchase.>\"]\npure = true\n";

/// Writes another wiring: with the ledger or without it.
fn rewire(site: &Site, has_ledger: bool) {
    let file = site.config().join("topology.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace(LEDGER, "");
    std::fs::write(&file, if has_ledger { text + LEDGER } else { text }).unwrap();
}

/// Asks for a reload whose answer nobody waits for.
fn reload(client: &Client) {
    let client = client.clone();
    std::thread::spawn(move || {
        drop(client.post("/v1/reload").json(&json!({"reason": "in the middle"})).try_send());
    });
}

/// Kills it again and again, now and then while it recovers or takes another wiring.
fn torment(torment: &Torment, site: &Site, server: &RwLock<Option<Client>>, dice: &mut Dice) {
    for round in 0..torment.rounds {
        let running = site.start_listening();
        *server.write().unwrap() = Some(running.client().clone());
        let watch = Watch::start();
        if round % 3 == 1 {
            let (name, id) = if round % 2 == 0 { ("fund.opened", "open") } else { ("fund.closed", "close") };
            let toggle = running.with_id(name, &format!("{id}-{round}"), &json!({"fund": "moon"}));
            toggle.try_send().map(drop).unwrap_or_default();
        }
        let life = (torment.life)(dice);
        if torment.is_operated {
            watch.let_pass(life / 2);
            meddle(running.client(), round);
        }
        watch.let_pass(life);
        if torment.is_operated && round % 2 == 1 {
            rewire(site, round % 4 == 1);
            reload(running.client());
            Watch::start().let_pass(Duration::from_millis(dice.roll(60)));
        }
        running.kill();
        *server.write().unwrap() = None;
        if round % 4 == 3 {
            let mut starting = site.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            Watch::start().let_pass(Duration::from_millis(dice.roll(120)));
            starting.kill().unwrap();
            starting.wait().unwrap();
        }
    }
}

/// Does what a person would do until nothing waits for one; the healthy events whose process was killed again and
/// again with them under way.
///
/// Such a one becomes a dead letter, rarely: who kills from outside looks like an event that does it.
fn repair(server: &Server) -> BTreeSet<String> {
    server.done("bank.restored", &json!({"account": "outage-1"}));
    let mut suspects = BTreeSet::new();
    until("everything has come to its end", || {
        let dead = server.dead_letters("");
        for letter in &dead {
            let is_suspect = letter["reason"] == "crash";
            assert!(letter["key"] == "outage-1" || is_suspect, "{letter:#}");
            // A slow payment takes longer than most lives here.
            if is_suspect && letter["key"] != "slow-1" {
                suspects.insert(letter["id"].to_string());
            }
            let path = format!("/v1/dead-letters/{}/retry", letter["id"].as_str().unwrap());
            server.client().post(&path).json(&json!({"reason": "the bank works again"})).send();
        }
        let busy = server.busy();
        if dead.is_empty() && busy.is_empty() {
            Ok(())
        } else {
            Err(format!("{} dead letters, {}", dead.len(), busy.join(", ")))
        }
    });
    suspects
}

fn read_books(server: &Server, site: &Site, acknowledged: BTreeMap<String, Purchase>) -> Books {
    let mut books = Books { acknowledged, ..Books::default() };
    for id in books.acknowledged.keys() {
        let reply = server.client().get(&format!("/v1/events/{id}")).send();
        books.statuses.insert(id.clone(), (reply.status == 200).then(|| reply.json()));
    }
    let ledger = std::fs::read_to_string(site.data().join("bank.ledger")).unwrap();
    books.ledger = ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for account in ACCOUNTS {
        books.funds.insert(account.to_owned(), server.funds(account));
        let book = server.client().get(&format!("/v1/subscriptions/audit/state/{account}")).send();
        books.audit.insert(account.to_owned(), book.json());
    }
    for (id, Purchase { account, fund, amount }) in &books.acknowledged {
        let data = json!({"order": id, "account": account, "fund": fund, "amount": amount});
        let reply = server.with_id("purchase.submitted", id, &data).send();
        if reply.status != 202 || reply.header("idempotency-replayed") != "true" {
            books.not_replayed.push(id.clone());
        }
    }
    books
}

#[test]
fn everything_acknowledged_ends_once_and_the_money_agrees() {
    let rounds = std::env::var("TIDEGATE_TEST_ROUNDS").map_or(25, |rounds| rounds.parse().unwrap());
    let life = |dice: &mut Dice| Duration::from_millis(50 + dice.roll(700));
    verify(&Torment { rounds, life, slow_one_in: 150, is_operated: false });
}

/// The verification run (R17): killed every two seconds, for a minute here and for longer by
/// `TIDEGATE_VERIFY_SECONDS`, with a person who acts in the middle and another wiring that is on its way in.
#[test]
fn every_ledger_balances_after_a_minute_of_kills_and_repairs() {
    let seconds: u64 =
        std::env::var("TIDEGATE_VERIFY_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let life = |_: &mut Dice| Duration::from_secs(2);
    verify(&Torment { rounds: seconds / 2, life, slow_one_in: 30 * seconds, is_operated: true });
}

/// Publishes while it is killed, until all of it is acknowledged; what that is.
fn publish_in_torment(plan: &Torment, site: &Site, dice: &mut Dice) -> BTreeMap<String, Purchase> {
    let server = RwLock::new(None);
    let stop = AtomicBool::new(false);

    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let (dice, server, stop, folder) = (dice.fork(), &server, &stop, site.folder());
                scope.spawn(move || publish(number, plan.slow_one_in, dice, server, stop, folder))
            })
            .collect();
        torment(plan, site, &server, dice);
        let last = site.start();
        *server.write().unwrap() = Some(last.client().clone());
        stop.store(true, Ordering::Release);
        let all: BTreeMap<_, _> = publishers.into_iter().flat_map(|p| p.join().unwrap()).collect();
        last.kill();
        all
    })
}

fn verify(plan: &Torment) {
    let rounds = plan.rounds;
    let mut dice = Dice::new();
    // Small, so that a round of kills meets folding, new segments and removed ones too.
    let site = Site::new()
        .own_config()
        .set("store.segment_bytes", "512KiB")
        .set("store.checkpoint_bytes", "256KiB")
        .set("store.checkpoint_interval", "1s");
    let first = site.start();
    for account in ACCOUNTS {
        open(&first, &[account], balance(account), &[]);
    }
    open(&first, &[], 0, &FUNDS);
    first.kill();
    let acknowledged = publish_in_torment(plan, &site, &mut dice);
    if plan.is_operated {
        // What it has waiting comes to its end as well.
        rewire(&site, true);
    }
    let last = site.start();
    for subscription in ["pay", "allot_shares", "check_funds"] {
        // The last life may have ended between a pause and its end.
        last.client().post(&format!("/v1/subscriptions/{subscription}/resume")).send();
    }
    let suspects = repair(&last);
    if plan.is_operated {
        let book = last.client().get_json("/v1/subscriptions/ledger/state/a");
        assert!(book["events"].as_u64() > Some(0), "it never came: {book}");
    }
    let books = read_books(&last, &site, acknowledged);

    let kinds = |wanted: &str| {
        let outcomes = books.statuses.values().flatten().map(|status| &status["result"]["outcome"]);
        outcomes.filter(|outcome| *outcome == wanted).count()
    };
    println!(
        "{rounds} kills, {} acknowledged: {} completed, {} refused, {} refunded; {} retried, suspected of a crash",
        books.acknowledged.len(),
        kinds("completed"),
        kinds("refused"),
        kinds("refunded"),
        suspects.len()
    );
    assert!(suspects.len() as u64 <= 1 + rounds / 100, "taken for deadly: {suspects:?}");
    let written: usize = (0..PUBLISHERS)
        .map(|n| {
            std::fs::read_to_string(site.folder().join(format!("acknowledged-{n}"))).unwrap().lines().count()
        })
        .sum();
    assert_eq!(written, books.acknowledged.len());
    assert!(books.acknowledged.len() as u64 > rounds * 4, "too little was published to say anything");
    let problems = books.problems();
    let shown = problems.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(problems.is_empty(), "{} problems:\n{shown}", problems.len());
}

/// Three orders whose books are in order.
fn sound() -> Books {
    let purchase = |amount| Purchase { account: "a".into(), fund: "world".into(), amount };
    let status = |outcome: &str| Some(json!({"status": "done", "open": 0, "result": {"outcome": outcome}}));
    let entry = |kind: &str, order: &str, amount: u64| json!({"kind": kind, "order": order, "account": "a", "amount": amount});
    let count = |n: u64| json!({"count": n, "amount": 0});
    Books {
        acknowledged: [("o1", 5), ("o2", 7), ("o3", 9)]
            .map(|(id, amount)| (id.to_owned(), purchase(amount)))
            .into(),
        statuses: [("o1", "completed"), ("o2", "refused"), ("o3", "refunded")]
            .map(|(id, outcome)| (id.to_owned(), status(outcome)))
            .into(),
        ledger: vec![entry("charge", "o1", 5), entry("charge", "o3", 9), entry("refund", "o3", 9)],
        funds: [("a".to_owned(), json!({"balance": OPENED - 5, "held": 0, "paid": 5, "holds": {}}))].into(),
        audit: [(
            "a".to_owned(),
            json!({"events": 6, "by_name": {
                "purchase.submitted": count(3), "purchase.completed": count(1),
                "purchase.refused": count(1), "purchase.refund_completed": count(1),
            }}),
        )]
        .into(),
        not_replayed: Vec::new(),
    }
}

#[test]
fn the_comparison_sees_what_is_lost_doubled_or_stuck() {
    type Doctor = fn(&mut Books);
    let doctored: [(&str, Doctor); 10] = [
        ("o1 is lost", |b| drop(b.statuses.insert("o1".into(), None))),
        ("o1 is lost", |b| drop(b.statuses.remove("o1"))),
        ("o1 is stuck", |b| {
            b.statuses.get_mut("o1").unwrap().as_mut().unwrap()["status"] = json!("processing");
        }),
        ("o1 is stuck", |b| b.statuses.get_mut("o1").unwrap().as_mut().unwrap()["open"] = json!(1)),
        ("o1 was completed", |b| b.ledger.push(b.ledger[0].clone())),
        ("o1 was completed", |b| drop(b.ledger.remove(0))),
        ("o3 was refunded", |b| drop(b.ledger.remove(2))),
        ("nobody published", |b| b.ledger.push(json!({"kind": "charge", "order": "o9", "account": "a"}))),
        ("audit counted 2", |b| {
            b.audit.get_mut("a").unwrap()["by_name"]["purchase.completed"]["count"] = json!(2);
        }),
        ("the flows say", |b| b.funds.get_mut("a").unwrap()["held"] = json!(5)),
    ];

    assert_eq!(sound().problems(), Vec::<String>::new());
    for (wanted, doctor) in doctored {
        let mut books = sound();
        doctor(&mut books);
        let problems = books.problems();
        assert!(problems.iter().any(|problem| problem.contains(wanted)), "{wanted}: {problems:?}");
    }
}
