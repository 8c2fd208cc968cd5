//! Promise: an act on many dead letters is a job. It takes what was dead when it was asked for, keeps its
//! rate, tells what came of each letter, can be stopped, and goes on after a restart: nothing twice, nothing
//! left out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kit::{Log, Switch, job, wired, work};
use tidegate::bus::view::DeadLetterFilter;
use tidegate::bus::{
    JobAct, JobAsk, JobCounts, JobFilter, JobItem, JobState, JobView, Operator, QueryError, When,
};
use tidegate::event::Timestamp;
use tidegate::prelude::StepError;
use tidegate::store::{
    Change, Commit, Features, MemoryStore, Reader, Receipt, Store, StoreError, StoreSettings,
};
use tidegate::testing::Harness;

const TRY_ONCE: &str = "retry = { max_attempts = 1 }";

/// A bus on which every job fails while the switch is off.
fn broken() -> (Harness, Log, Switch) {
    let settings = StoreSettings::default();
    on(Box::new(MemoryStore::new(&settings).unwrap()))
}

fn on(store: Box<dyn Store>) -> (Harness, Log, Switch) {
    let mended = Switch::default();
    let is_mended = mended.clone();
    let (steps, log) =
        work(move |_, _| if is_mended.is_on() { Ok(()) } else { Err(StepError::retry("the bank is out")) });
    let settings = tidegate::config::load_text(&wired(TRY_ONCE)).unwrap().settings;
    (Harness::on_store(steps, settings, store), log, mended)
}

/// A store that fails once, at a group that is counted down to: before it is written, or after.
struct Mortal {
    inner: MemoryStore,
    groups_left: Arc<AtomicI64>,
    is_written: bool,
}

impl Store for Mortal {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        if self.groups_left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return self.inner.stage(now, changes);
        }
        if self.is_written {
            self.inner.stage(now, changes)?;
            self.inner.sync()?;
        }
        Err(StoreError::Poisoned { cause: "the test ends the process here".to_owned() })
    }
    fn sync(&mut self) -> Result<Commit, StoreError> {
        self.inner.sync()
    }
    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.inner.maintain(now)
    }
    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }
    fn features(&self) -> Features {
        self.inner.features()
    }
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// So many dead letters, each of a key of its own, two thirds of them of keys that begin with `a`.
fn with_dead(count: u64) -> (Harness, Log, Switch) {
    let (mut h, log, mended) = broken();
    kill(&mut h, count);
    (h, log, mended)
}

fn kill(h: &mut Harness, count: u64) {
    for n in 1..=count {
        h.publish("job.given", job(n, &format!("{}{n}", if n % 3 == 0 { "b" } else { "a" })));
    }
    h.run_until_idle();
    assert_eq!(h.dead_letters().len() as u64, count);
}

fn ann() -> Operator {
    Operator { by: "ann".to_owned(), reason: "the bank is back".to_owned() }
}

fn retry_all(rate: Option<&str>) -> JobAsk {
    let pace = rate.map(|rate| rate.parse().unwrap());
    JobAsk { act: JobAct::Retry, when: When::Now, force: false, filter: JobFilter::default(), pace }
}

fn start(h: &Harness, ask: JobAsk) -> JobView {
    h.wait_for(h.bus().start_job(ask, ann())).unwrap()
}

fn look(h: &Harness, job: &JobView) -> JobView {
    h.wait_for(h.bus().job(&job.id)).unwrap()
}

fn items(h: &Harness, job: &JobView) -> Vec<JobItem> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = h.wait_for(h.bus().job_items(&job.id, cursor, 70)).unwrap();
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

fn counts(matched: u64, done: u64, refused: u64, gone: u64) -> JobCounts {
    JobCounts { matched, done, refused, gone }
}

#[test]
fn it_retries_every_letter_once_and_tells_what_came_of_each() {
    let (mut h, log, mended) = with_dead(300);
    mended.turn(true);

    let job = start(&h, retry_all(None));
    h.run_until_idle();

    let done = look(&h, &job);
    assert_eq!((done.state, done.counts), (JobState::Finished, counts(300, 300, 0, 0)));
    assert_eq!((done.by.as_str(), done.reason.as_str()), ("ann", "the bank is back"));
    assert!(done.finished.is_some());
    for n in 1..=300 {
        assert_eq!(log.count(n), 2, "once by itself, once by the job");
    }
    assert_eq!(h.dead_letters().len(), 0);
    let items = items(&h, &job);
    assert_eq!(items.iter().map(|item| item.n).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
    assert!(items.iter().all(|item| item.done && item.problem.is_none()));
    assert_eq!(h.events("tidegate.dead_letter.retried").len(), 300, "each act is in the audit");
}

#[test]
fn what_fails_after_it_was_asked_for_is_not_taken() {
    let (mut h, log, _) = with_dead(200);

    // The bank is still out, and the clock stands still: every letter dies again within the same
    // millisecond, and new ones beside them, while the job is at work.
    let job = start(&h, retry_all(None));
    h.publish("job.given", kit::job(999, "later"));
    h.run_until_idle();

    assert_eq!(look(&h, &job).counts, counts(200, 200, 0, 0));
    for n in 1..=200 {
        assert_eq!(log.count(n), 2, "not again and again");
    }
    assert_eq!(log.count(999), 1);
    assert_eq!(h.dead_letters().len(), 201, "and what has failed again is there again");
}

#[test]
fn it_keeps_its_rate_by_the_clock_of_the_bus() {
    let (mut h, log, mended) = with_dead(30);
    mended.turn(true);
    let begin = h.clock().now().0;

    let job = start(&h, retry_all(Some("10/s")));
    h.run_until_idle();
    assert_eq!(look(&h, &job).counts.done, 1, "the first at once");
    h.advance(Duration::from_millis(1_050));
    assert_eq!(look(&h, &job).counts.done, 11);
    assert_eq!(look(&h, &job).state, JobState::Running);
    h.advance(Duration::from_secs(2));

    assert_eq!((look(&h, &job).state, look(&h, &job).counts.done), (JobState::Finished, 30));
    let times: Vec<u64> = log.all().iter().skip(30).map(|call| call.at - begin).collect();
    assert_eq!(times, (0..30).map(|n| n * 100).collect::<Vec<_>>());
}

#[test]
fn it_goes_on_after_a_restart_where_it_was() {
    let (mut h, log, mended) = with_dead(40);
    mended.turn(true);

    let job = start(&h, retry_all(Some("10/s")));
    h.advance(Duration::from_millis(1_450));
    h.restart();
    h.run_until_idle();
    let after = look(&h, &job);
    assert_eq!((after.state, after.counts.done), (JobState::Running, 16), "nothing is made up for");
    h.advance(Duration::from_secs(10));

    assert_eq!((look(&h, &job).state, look(&h, &job).counts), (JobState::Finished, counts(40, 40, 0, 0)));
    for n in 1..=40 {
        assert_eq!(log.count(n), 2, "job {n}: once by itself, once by the job");
    }
    assert_eq!(items(&h, &job).len(), 40);
    assert_eq!(h.dead_letters().len(), 0);
    assert_eq!(h.events("tidegate.job.finished").len(), 1);
}

#[test]
fn killed_at_any_moment_it_does_nothing_twice_and_leaves_nothing_out() {
    for (at, is_written) in (1..14).flat_map(|at| [(at, false), (at, true)]) {
        let crash = format!("at group {at}, written: {is_written}");
        let groups_left = Arc::new(AtomicI64::new(0));
        let inner = MemoryStore::new(&StoreSettings::default()).unwrap();
        let (mut h, log, mended) =
            on(Box::new(Mortal { inner, groups_left: Arc::clone(&groups_left), is_written }));
        kill(&mut h, 100);
        mended.turn(true);
        groups_left.store(at, Ordering::SeqCst);
        let asked = h.wait_for(h.bus().start_job(retry_all(None), ann()));
        h.run_until_idle();
        // Fewer groups than that were enough.
        groups_left.store(0, Ordering::SeqCst);
        h.restart();
        h.run_until_idle();

        let jobs = h.wait_for(h.bus().jobs(None, None, 10)).unwrap().items;
        if jobs.is_empty() {
            assert!(asked.is_err(), "an answer is a promise: {crash}");
            continue;
        }
        assert_eq!((jobs[0].state, jobs[0].counts), (JobState::Finished, counts(100, 100, 0, 0)), "{crash}");
        assert_eq!(h.dead_letters().len(), 0, "{crash}");
        assert_eq!(h.events("tidegate.dead_letter.retried").len(), 100, "{crash}");
        assert_eq!(items(&h, &jobs[0]).len(), 100, "{crash}");
        assert!((1..=100).all(|n| log.count(n) >= 2), "{crash}");
    }
}

#[test]
fn it_is_stopped_and_resumed() {
    let (mut h, log, mended) = with_dead(20);
    mended.turn(true);
    let job = start(&h, retry_all(Some("10/s")));
    h.advance(Duration::from_millis(450));

    let stopped = h.wait_for(h.bus().stop_job(&job.id, ann())).unwrap();
    h.advance(Duration::from_mins(1));
    assert_eq!((stopped.state, look(&h, &job).counts.done), (JobState::Stopped, 5));
    h.restart();
    h.advance(Duration::from_mins(1));
    assert_eq!(look(&h, &job).counts.done, 5, "a restart does not resume it");

    let resumed = h.wait_for(h.bus().resume_job(&job.id, ann())).unwrap();
    h.run_until_idle();
    assert_eq!((resumed.state, look(&h, &job).counts.done), (JobState::Running, 6));
    h.advance(Duration::from_secs(2));
    assert_eq!((look(&h, &job).state, look(&h, &job).counts), (JobState::Finished, counts(20, 20, 0, 0)));
    assert_eq!(log.all().len(), 40);

    let again = h.wait_for(h.bus().resume_job(&job.id, ann()));
    assert!(matches!(again, Err(QueryError::Refused { .. })), "{again:?}");
    assert!(matches!(h.wait_for(h.bus().stop_job("none", ann())), Err(QueryError::NotFound { .. })));
}

#[test]
fn what_somebody_else_has_dealt_with_is_told_and_not_done_again() {
    let (mut h, log, mended) = with_dead(6);
    mended.turn(true);
    let job = start(&h, retry_all(Some("1/s")));
    h.run_until_idle();
    let letters = h.dead_letters();

    // The first is done. Of the five others, one is skipped by hand while the job waits.
    h.skip(&letters[1].id);
    h.advance(Duration::from_secs(3));
    let told = items(&h, &job);
    // Another one, over a restart: the job reads what is still there.
    h.skip(&h.dead_letters()[0].id.clone());
    h.restart();
    h.advance(Duration::from_mins(1));

    let refused: Vec<&JobItem> = told.iter().filter(|item| !item.done).collect();
    assert_eq!((told.len(), refused.len()), (4, 1), "{told:?}");
    assert_eq!((refused[0].n, refused[0].dead_letter.as_str()), (3, letters[1].id.as_str()));
    let why = refused[0].problem.as_deref().unwrap();
    assert!(why.contains("its delivery is skipped"), "{why}");
    assert_eq!((look(&h, &job).state, look(&h, &job).counts), (JobState::Finished, counts(6, 4, 1, 1)));
    assert_eq!(items(&h, &job).iter().filter(|item| item.done).count(), 4);
    assert_eq!(log.all().len(), 10);
}

#[test]
fn its_filter_leaves_out_what_it_does_not_name() {
    let (mut h, log, mended) = with_dead(30);
    mended.turn(true);
    let of = |letters: DeadLetterFilter| JobAsk {
        act: JobAct::Retry,
        when: When::Now,
        force: false,
        filter: JobFilter { letters, ..JobFilter::default() },
        pace: None,
    };
    let key = |key: &str| DeadLetterFilter { key: Some(key.to_owned()), ..DeadLetterFilter::default() };

    let one = start(&h, of(key("a7")));
    let none = start(&h, of(DeadLetterFilter { reason: Some("fatal".to_owned()), ..key("a8") }));
    let late = JobFilter { since: Some(h.clock().now().plus_millis(1)), ..JobFilter::default() };
    let late = start(&h, JobAsk { filter: late, ..retry_all(None) });
    let unknown = DeadLetterFilter { subscription: Some("wrok".to_owned()), ..DeadLetterFilter::default() };
    let unknown = h.wait_for(h.bus().start_job(of(unknown), ann()));
    h.run_until_idle();

    assert_eq!(look(&h, &one).counts, counts(1, 1, 0, 0));
    assert_eq!((look(&h, &none).state, look(&h, &none).counts), (JobState::Finished, counts(0, 0, 0, 0)));
    assert_eq!(look(&h, &late).counts.matched, 0);
    assert!(matches!(unknown, Err(QueryError::NotFound { .. })));
    assert_eq!((log.count(7), log.count(8), h.dead_letters().len()), (2, 1, 29));
    let jobs = h.wait_for(h.bus().jobs(None, None, 2)).unwrap();
    let ids: Vec<&str> = jobs.items.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, [&late.id, &none.id], "the newest first");
    let rest = h.wait_for(h.bus().jobs(None, jobs.next, 2)).unwrap();
    assert_eq!((rest.items.len(), rest.items[0].id.as_str(), rest.next), (1, one.id.as_str(), None));
}

#[test]
fn a_skip_lets_all_of_them_go() {
    let (mut h, log, _) = with_dead(70);
    let behind = h.publish("job.given", job(500, "a1"));

    let job = start(&h, JobAsk { act: JobAct::Skip, ..retry_all(None) });
    h.run_until_idle();

    assert_eq!(look(&h, &job).counts, counts(70, 70, 0, 0));
    assert_eq!(log.all().len(), 71, "only what waited behind one was called");
    let left = h.dead_letters();
    assert_eq!((left.len(), &left[0].event), (1, &behind.id));
}

#[test]
fn a_rehearsal_says_what_it_would_be_and_stores_nothing() {
    let (h, _, _) = with_dead(30);
    let before = h.timelines();

    let said = h.wait_for(h.bus().rehearse(JobFilter::default())).unwrap();

    assert_eq!((said.dry_run, said.matched, said.items.len()), (true, 30, 20));
    assert_eq!((said.groups[0].subscription.as_str(), said.groups[0].count), ("work", 30));
    assert_eq!(before, h.timelines());
    assert_eq!(h.wait_for(h.bus().jobs(None, None, 9)).unwrap().items.len(), 0);
}

#[test]
fn what_cannot_be_kept_to_its_end_is_not_begun() {
    let (h, _, _) = broken();
    let letters = DeadLetterFilter { key: Some("\u{1}".repeat(5_000)), ..DeadLetterFilter::default() };
    let ask = JobAsk { filter: JobFilter { letters, ..JobFilter::default() }, ..retry_all(None) };

    let refused = h.wait_for(h.bus().start_job(ask, ann()));

    assert!(matches!(refused, Err(QueryError::Refused { .. })), "{refused:?}");
    assert_eq!(h.wait_for(h.bus().jobs(None, None, 9)).unwrap().items.len(), 0);
}

#[test]
fn of_the_finished_jobs_the_last_hundred_are_kept_with_their_items() {
    let (mut h, _, _) = with_dead(3);
    let first = start(&h, retry_all(None));
    h.run_until_idle();
    assert_eq!(items(&h, &first).len(), 3);

    let later: Vec<JobView> = (0..100)
        .map(|_| {
            let ask = JobAsk { act: JobAct::Skip, ..retry_all(None) };
            let job = start(&h, ask);
            h.run_until_idle();
            job
        })
        .collect();

    let kept = h.wait_for(h.bus().jobs(None, None, 1_000)).unwrap().items;
    assert_eq!(kept.len(), 100);
    assert!(matches!(h.wait_for(h.bus().job(&first.id)), Err(QueryError::NotFound { .. })));
    assert!(matches!(h.wait_for(h.bus().job_items(&first.id, None, 9)), Err(QueryError::NotFound { .. })));
    assert_eq!(items(&h, &later[0]).len(), 3);
    let left: Vec<JobView> =
        later.into_iter().filter(|job| kept.iter().all(|other| other.id != job.id)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_its_on_dead_event_has_answered_is_refused_unless_it_is_forced() {
    let (steps, log) =
        work(|job, _| if job.n < 3 { Err(StepError::fatal("stuck", "for good")) } else { Ok(()) });
    let told = "on_dead = \"job.told\"\nretry = { max_attempts = 1 }";
    let mut h = Harness::new(steps, &wired(told));
    for n in 1..=2 {
        h.publish("job.given", job(n, &n.to_string()));
    }
    h.run_until_idle();

    let careful = start(&h, retry_all(None));
    h.run_until_idle();
    let forced = start(&h, JobAsk { force: true, ..retry_all(None) });
    h.run_until_idle();

    assert_eq!(look(&h, &careful).counts, counts(2, 0, 2, 0));
    let refused = items(&h, &careful);
    assert!(refused.iter().all(|item| !item.done && item.problem.as_deref().unwrap().contains("`on_dead`")));
    assert_eq!(look(&h, &forced).counts, counts(2, 2, 0, 0));
    assert_eq!(log.all().len(), 4);
}
