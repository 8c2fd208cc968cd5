//! Data folders as this version of the format leaves them: what `tests/data_of_older_versions_opens.rs` reads.

use std::path::PathBuf;

use super::*;
use crate::store::conformance::{dead, envelope};
use crate::store::{StateWrite, SubscriptionId};

const A: SubscriptionId = SubscriptionId(1);

/// `tests/fixtures/data-vN` with this version, and a word behind it.
fn fixture(word: &str) -> PathBuf {
    let name = format!("tests/fixtures/data-v{}{word}", crate::store::journal::Mark::FORMAT);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    assert!(!path.exists(), "{} is there already, and stays as it is", path.display());
    path
}

fn keep(dir: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for from in files(dir, "").into_iter().filter(|file| !file.ends_with("lock")) {
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            keep(&from, &to);
        } else {
            let mut bytes = std::fs::read(&from).unwrap();
            // sled reserves its file in megabytes of zeros, which the repository does not need.
            if from.ends_with("sled/db") {
                bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            }
            std::fs::write(to, bytes).unwrap();
        }
    }
}

/// As `filled`, with what has come since: groups that are packed, and ids that spell bytes.
fn filled_by_groups(engine: &mut OnDisk, events: u64, done: u64) -> World<'_> {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let event = |n: &u64| {
        let mut event = envelope(&format!("e{n}"));
        event.subject = Some(format!("{n:0>200}"));
        event.causation = Some(if n.is_multiple_of(2) {
            format!("{n:032x}")
        } else {
            format!("00000000-0000-7000-8000-{n:012x}")
        });
        Routed::new(event.into(), vec![a])
    };
    for group in (1..=events).collect::<Vec<_>>().chunks(100) {
        world.publish_all(group.iter().map(event).collect());
    }
    for n in 1..=done {
        world.settle(settle(a, n, Seq(n), Outcome::Done));
    }
    world
}

/// A dead letter that parks its key, one event put aside behind it, and one done with a state.
fn go_on(world: &mut World<'_>, first: u64) {
    world.settle(settle(A, first, Seq(first), dead(true)));
    world.defer(A, first + 1, "k");
    let mut done = settle(A, first + 2, Seq(first + 2), Outcome::Done);
    done.state = Some(StateWrite { value: Bytes::from_static(b"{\"n\":6}") });
    world.settle(done);
}

/// To be run by hand, once in each version of the format, while it is the newest.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_fixture_of_a_checkpoint_that_broke_off() {
    let mut engine = OnDisk::new(32 << 20, 16 << 10);
    let dir = engine.dir.path().to_owned();
    let settings = engine.settings(&StoreSettings::default());
    let mut world = filled_by_groups(&mut engine, 20, 3);
    drop(world.store.take());
    let (layer, commit) = {
        let lock = recovery::lock(&dir).unwrap();
        let mut found = recovery::recover(&settings, &lock).unwrap();
        found.open.write(&mut found.view).unwrap();
        (found.view.freeze().unwrap().rows(), found.journal.last_commit())
    };
    world.store = Some(Box::new(SledStore::open(settings, world.now).unwrap()));
    go_on(&mut world, 4);
    world.publish("e21", &[A]);
    drop(world);
    checkpoint::break_off(&dir, &layer, commit);
    std::fs::remove_dir_all(dir.join("sled")).unwrap();

    keep(&dir, &fixture(""));
}

/// The same of a store that has ended in order: all of it stands in sled.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_fixture_of_a_store_that_has_ended() {
    let mut engine = OnDisk::new(32 << 20, 64 << 10);
    let dir = engine.dir.path().to_owned();
    let mut world = filled_by_groups(&mut engine, 300, 10);
    go_on(&mut world, 11);
    world.store.take().unwrap().close().unwrap();

    keep(&dir, &fixture("-ended"));
}
