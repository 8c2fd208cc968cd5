//! The room as a whole: from an author's step to what the runtime drives.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::*;
use crate::event::{Envelope, EventName};

#[derive(Debug, Serialize, Deserialize)]
struct Ordered {
    item: String,
    count: u64,
}
impl Event for Ordered {
    const NAME: &'static str = "item.ordered";
    fn key(&self) -> Cow<'_, str> {
        (&self.item).into()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Keyless {}
impl Event for Keyless {
    const NAME: &'static str = "item.counted";
}

#[derive(Default, Serialize, Deserialize)]
struct Stock {
    taken: u64,
}

#[derive(Default)]
struct Reserve {
    calls: AtomicU32,
}
impl Step for Reserve {
    const NAME: &'static str = "reserve";
    type State = Stock;
}
impl On<Ordered> for Reserve {
    type Emits = (Option<Keyless>, After<Keyless>);
    async fn on(
        &self,
        event: Ordered,
        stock: &mut Stock,
        cx: &StepContext,
    ) -> Result<Self::Emits, StepError> {
        stock.taken += event.count;
        let calls = &self.calls;
        let receipt: u32 =
            cx.run("receipt", async { Ok::<_, StepError>(calls.fetch_add(1, Ordering::SeqCst)) }).await?;
        cx.progress(format!("receipt {receipt}"));
        cx.resolve(&stock.taken)?;
        if event.count == 0 {
            return Err(StepError::fatal("empty", "nothing ordered"));
        }
        Ok((None, After(Duration::from_secs(3), Keyless {})))
    }
}
impl On<Keyless> for Reserve {
    type Emits = ();
    async fn on(&self, _: Keyless, _: &mut Stock, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

struct Watch;
impl Step for Watch {
    const NAME: &'static str = "watch";
    const BLOCKING: bool = true;
    type State = ();
}
impl OnAny for Watch {
    type Emits = Keyless;
    async fn on_any(&self, _: &Envelope, _state: &mut (), _: &StepContext) -> Result<Keyless, StepError> {
        Ok(Keyless {})
    }
}

fn registry() -> Registry {
    Registry::new()
        .step(Reserve::default())
        .on::<Ordered>()
        .on::<Keyless>()
        .step(Watch)
        .on_any()
        .check()
        .unwrap()
}

fn envelope(name: &str, data: &str) -> Arc<Envelope> {
    let mut event = TestContext::new().event;
    event.name = EventName::new(name).unwrap();
    event.data = Bytes::copy_from_slice(data.as_bytes());
    Arc::new(event)
}

async fn call(step: &str, event: &Arc<Envelope>, state: Option<&'static str>) -> Result<Handled, StepError> {
    let step = registry().get(step).unwrap();
    step.call(
        Arc::clone(event),
        None,
        state.map(|s| Bytes::from_static(s.as_bytes())),
        StepContext::for_test(),
    )
    .await
}

#[actix::test]
async fn an_attempt_brings_state_emits_result_and_progress_together() {
    let event = envelope("item.ordered", r#"{"item":"tea","count":2}"#);

    let first = call("reserve", &event, None).await.unwrap();
    let later = call("reserve", &event, Some(r#"{"taken":40}"#)).await.unwrap();

    assert_eq!(first.state.as_deref(), Some(br#"{"taken":2}"#.as_slice()));
    assert_eq!(later.state.as_deref(), Some(br#"{"taken":42}"#.as_slice()));
    assert_eq!(later.result.as_deref(), Some(b"42".as_slice()));
    assert_eq!(later.progress.as_deref(), Some("receipt 0"));
    let emitted = Emitted {
        name: "item.counted",
        key: String::new(),
        data: Bytes::from_static(b"{}"),
        delay: Some(Duration::from_secs(3)),
    };
    assert_eq!(later.emits, [emitted]);
}

#[actix::test]
async fn a_step_without_state_stores_none() {
    let handled = call("watch", &envelope("whatever.happened", "not json"), None).await.unwrap();

    assert_eq!(handled.state, None);
    assert_eq!(handled.emits.len(), 1);
}

#[actix::test]
async fn what_does_not_decode_is_no_retry() {
    let good = envelope("item.ordered", r#"{"item":"tea","count":2}"#);
    let bad = envelope("item.ordered", r#"{"item":"tea","count":-2}"#);
    let unknown = envelope("other.happened", "{}");

    let payload = call("reserve", &bad, None).await.unwrap_err();
    let state = call("reserve", &good, Some(r#"{"gone":1}"#)).await.unwrap_err();
    let name = call("reserve", &unknown, None).await.unwrap_err();

    assert!(
        matches!(&payload, StepError::Undecodable { message } if message.contains("`item.ordered`: field `count`")),
        "{payload}"
    );
    assert!(matches!(&state, StepError::Fatal { code, .. } if code == "state"), "{state}");
    assert!(matches!(name, StepError::Undecodable { .. }));
}

#[actix::test]
async fn an_effect_runs_once_over_all_attempts_that_recorded_it() {
    let step = Reserve::default();
    let test = TestContext::new();
    let order = |count| Ordered { item: "tea".to_owned(), count };

    test.fail_next_record("receipt");
    step.on(order(1), &mut Stock::default(), &test.build()).await.unwrap_err();
    step.on(order(0), &mut Stock::default(), &test.build()).await.unwrap_err();
    let third = test.build();
    step.on(order(1), &mut Stock::default(), &third).await.unwrap();

    assert_eq!(step.calls.load(Ordering::SeqCst), 2, "once unrecorded, once recorded, then never again");
    assert_eq!(third.last_progress().as_deref(), Some("receipt 1"));
    assert_eq!(test.recorded(), ["receipt"]);
}

#[test]
fn effect_keys_differ_by_event_subscription_and_name_only() {
    let test = TestContext::new();
    let key = test.build().effect_key("charge");
    let (mut event, mut subscription, mut attempt) = (test.clone(), test.clone(), test.clone());
    event.event.id = "event-2".to_owned();
    subscription.subscription = "other".to_owned();
    attempt.attempt = 9;
    attempt.advance(Duration::from_mins(1));

    assert_eq!(attempt.build().effect_key("charge"), key);
    assert_ne!(event.build().effect_key("charge"), key);
    assert_ne!(subscription.build().effect_key("charge"), key);
    assert_ne!(test.build().effect_key("refund"), key);
}

#[test]
fn the_lane_is_the_steps_key_and_a_keyless_type_takes_the_publishers() {
    let step = registry().get("reserve").unwrap();
    let mut ordered = (*envelope("item.ordered", r#"{"item":"tea","count":2}"#)).clone();
    let mut keyless = (*envelope("item.counted", "{}")).clone();
    "publisher".clone_into(&mut ordered.key);
    "publisher".clone_into(&mut keyless.key);

    assert_eq!(step.lane_key(&ordered).unwrap(), "tea");
    assert_eq!(step.lane_key(&keyless).unwrap(), "publisher");
    step.lane_key(&envelope("item.ordered", "{}")).unwrap_err();
}

#[test]
fn the_registry_tells_what_the_wiring_needs() {
    let registry = registry();
    let ordered = EventName::new("item.ordered").unwrap();
    let catalog = registry.catalog();

    assert_eq!(registry.names(), ["reserve", "watch"]);
    assert_eq!(registry.key_of(&ordered, br#"{"item":"tea","count":2}"#).as_deref(), Some("tea"));
    assert_eq!(registry.key_of(&ordered, b"{}"), None);
    assert!(registry.decodes("item.ordered", b"{}").unwrap_err().contains("missing field `item`"));
    assert_eq!(registry.decodes("nobody.declares", b"{}"), Ok(()));
    assert_eq!(catalog.event_names(), ["item.counted", "item.ordered"]);
    let reserve = catalog.step("reserve").unwrap();
    assert!(reserve.stateful && !reserve.any && !reserve.blocking);
    assert_eq!(reserve.emits_on("item.ordered"), Some(["item.counted"].as_slice()));
    assert_eq!(reserve.emits_on("other"), None);
    let watch = catalog.step("watch").unwrap();
    assert!(!watch.stateful && watch.any && watch.blocking);
    assert_eq!(watch.emits_on("other"), Some(["item.counted"].as_slice()));
}

#[test]
fn all_mistakes_of_a_registry_are_reported_together() {
    #[derive(Serialize, Deserialize)]
    struct Shouted {}
    impl Event for Shouted {
        const NAME: &'static str = "Item.Shouted";
    }
    #[derive(Serialize, Deserialize)]
    struct Usurper {}
    impl Event for Usurper {
        const NAME: &'static str = "item.counted";
    }
    #[derive(Serialize, Deserialize)]
    struct Own {}
    impl Event for Own {
        const NAME: &'static str = "tidegate.own";
    }
    struct Bad;
    impl Step for Bad {
        const NAME: &'static str = "Bad";
        type State = ();
    }
    impl On<Usurper> for Bad {
        type Emits = (Shouted, Own);
        async fn on(&self, _: Usurper, _state: &mut (), _: &StepContext) -> Result<Self::Emits, StepError> {
            Err(StepError::Shutdown)
        }
    }

    impl On<Own> for Bad {
        type Emits = ();
        async fn on(&self, _: Own, _state: &mut (), _: &StepContext) -> Result<(), StepError> {
            Ok(())
        }
    }

    let error = Registry::new()
        .step(Reserve::default())
        .on::<Ordered>()
        .on::<Keyless>()
        .on::<Ordered>()
        .step(Watch)
        .step(Watch)
        .on_any()
        .step(Bad)
        .on::<Usurper>()
        .on::<Own>()
        .check()
        .unwrap_err();

    let said: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
    let expected = [
        "step `reserve` is registered for the event `item.ordered` twice",
        "step `watch` takes no event",
        "step `watch` is registered twice",
        "step name \"Bad\" is malformed",
        "step `Bad` takes `tidegate.own`, which the bus never tells; it tells tidegate.delivery.dead, ",
        "step `Bad`: event name \"Item.Shouted\" does not begin",
        "step `Bad` emits `tidegate.own`",
        "event `item.counted` is declared by two types",
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said} instead of {expected}");
    }
}

struct Counter {
    handled: u64,
}
impl Actor for Counter {
    type Context = Context<Self>;
    fn started(&mut self, cx: &mut Context<Self>) {
        cx.set_mailbox_capacity(1);
    }
}
impl Handler<Delivery<Ordered, Keyless>> for Counter {
    type Result = Result<Keyless, StepError>;
    fn handle(&mut self, delivery: Delivery<Ordered, Keyless>, cx: &mut Context<Self>) -> Self::Result {
        use actix::ActorContext as _;
        self.handled += delivery.event.count;
        delivery.cx.resolve(&self.handled)?;
        match delivery.event.count {
            0 => Err(StepError::skip("nothing")),
            99 => {
                cx.stop();
                Ok(Keyless {})
            }
            _ => Ok(Keyless {}),
        }
    }
}

#[actix::test]
async fn an_actix_actor_is_a_step_as_it_is() {
    let actor = Counter { handled: 0 }.start();
    let registry =
        Registry::new().step(Watch).on_any().actor::<Ordered, Keyless>("counter", actor.recipient()).check();
    let step = registry.unwrap().get("counter").unwrap();
    let send = |count: u64| {
        let event = envelope("item.ordered", &format!(r#"{{"item":"tea","count":{count}}}"#));
        Arc::clone(&step).call(event, None, None, StepContext::for_test())
    };

    // More at once than its mailbox holds: they wait, none hangs.
    let many = futures_util::future::join_all((0..20).map(|_| send(1))).await;
    let skipped = send(0).await;
    send(99).await.unwrap();
    let gone = send(1).await.unwrap_err();

    assert!(many.iter().all(|answer| answer.as_ref().is_ok_and(|handled| handled.emits.len() == 1)));
    assert_eq!(many.last().unwrap().as_ref().unwrap().result.as_deref(), Some(b"20".as_slice()));
    assert_eq!(skipped, Err(StepError::skip("nothing")));
    assert!(
        matches!(&gone, StepError::Retry { message, .. } if message.contains("actor `counter`")),
        "{gone}"
    );
    assert_eq!(step.emits("item.ordered"), ["item.counted"]);
}
