//! Promise: a line that a step logs names the flow, the event, the subscription and the attempt, wherever the step runs.
#![allow(clippy::unwrap_used, reason = "a promise ends where it is broken")]

mod kit;

use std::sync::mpsc::channel;
use std::time::Duration;

use actix::{Actor, Context, Handler, Recipient, System};
use kit::{Job, job};
use tidegate::prelude::*;
use tidegate::step::Delivery;
use tidegate::testing::Harness;

/// What every step here does.
fn work(cx: &StepContext) -> Result<(), StepError> {
    tracing::info!("at work");
    if cx.attempt() == 1 { Err(StepError::retry("the first one fails")) } else { Ok(()) }
}

struct Free;

impl Step for Free {
    const NAME: &'static str = "free";
    type State = ();
}

impl On<Job> for Free {
    type Emits = ();
    async fn on(&self, _: Job, (): &mut (), cx: &StepContext) -> Result<(), StepError> {
        work(cx)
    }
}

struct Blocking;

impl Step for Blocking {
    const NAME: &'static str = "blocking";
    const BLOCKING: bool = true;
    type State = u64;
}

impl On<Job> for Blocking {
    type Emits = ();
    async fn on(&self, _: Job, seen: &mut u64, cx: &StepContext) -> Result<(), StepError> {
        *seen += 1;
        work(cx)
    }
}

struct Printer;

impl Actor for Printer {
    type Context = Context<Self>;
}

impl Handler<Delivery<Job>> for Printer {
    type Result = Result<(), StepError>;
    fn handle(&mut self, delivery: Delivery<Job>, _: &mut Context<Self>) -> Self::Result {
        delivery.span().in_scope(|| work(&delivery.cx))
    }
}

/// An actor with a thread of its own, to the end of the process.
fn printer() -> Recipient<Delivery<Job>> {
    let (tell, told) = channel();
    let run = move || {
        let system = System::new();
        tell.send(system.block_on(async { Printer.start().recipient() })).unwrap();
        system.run().unwrap();
    };
    std::thread::Builder::new().name("an-actor".to_owned()).spawn(run).unwrap();
    told.recv().unwrap()
}

/// The subscriptions: name, step, how it is wired, and the threads that it runs on.
const SUBSCRIPTIONS: [(&str, &str, &str, &str); 4] = [
    ("plain", "free", "", "tidegate-step"),
    ("ahead", "free", "pure = true", "actix-rt"),
    ("held_up", "blocking", "", "tidegate-step"),
    ("printed", "printer", "", "an-actor"),
];

#[test]
fn on_every_kind_of_thread_and_at_every_attempt() {
    let lines = tempfile::NamedTempFile::new().unwrap();
    // For the whole process: steps run on threads of the bus.
    let log = tracing_subscriber::fmt().with_ansi(false).with_thread_names(true);
    log.with_writer(lines.reopen().unwrap()).init();
    let steps = Registry::new().step(Free).on::<Job>().step(Blocking).on::<Job>();
    let steps = steps.actor::<Job, ()>("printer", printer());
    let table = |(name, step, more, _)| {
        format!("[subscription.{name}]\nstep = \"{step}\"\non = [\"job.given\"]\n{more}")
    };
    let wiring = SUBSCRIPTIONS.map(table).join("\n");
    let mut h = Harness::new(steps, &wiring);

    let accepted = h.publish_as("e1", "job.given", job(1, "k"));
    h.advance(Duration::from_hours(1));

    let told = std::fs::read_to_string(lines.path()).unwrap();
    for (name, _, _, thread) in SUBSCRIPTIONS {
        for attempt in 1..=2 {
            let flow = &accepted.flow;
            let wanted = format!(
                "attempt{{flow=\"{flow}\" event=\"e1\" subscription=\"{name}\" attempt={attempt}}}: "
            );
            let is_it = |line: &&str| line.ends_with("at work") && line.contains(&wanted);
            let found: Vec<&str> = told.lines().filter(is_it).collect();
            assert!(found.len() == 1 && found.iter().all(|line| line.contains(thread)), "{wanted}:\n{told}");
        }
    }
}
