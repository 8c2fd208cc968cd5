//! Keys that could do harm: each event its own, and one with a long queue.

use super::publish::WAITING;
use super::{Bench, data};
use crate::Outcome;
use crate::children::{inside, inside_and_hold};
use crate::inside::{Beside, Measure, Passed, Task};
use crate::stats::{Runs, mebibytes, percent, rate, times};
use crate::table::{Bound, Row};

const ROW: &str = "keys";

/// Both measures. The million once, since it is long; the one hot key in pairs with and without it.
pub(super) fn keys(bench: &Bench) -> Outcome<Vec<Row>> {
    let mut rows = own_keys(bench)?;
    // The short flood takes less than a second, in which the checkpoints of the hot key's events are likely under way still.
    rows.extend(hot_key(bench, bench.sizes.keys / 20, None)?);
    rows.extend(hot_key(bench, bench.sizes.keys / 2, Some(Bound::AtLeast { floor: 0.8, goal: 0.95 }))?);
    Ok(rows)
}

/// As many keys as events, beside as many events of few keys: what is left in memory of either.
fn own_keys(bench: &Bench) -> Outcome<Vec<Row>> {
    let total = bench.sizes.keys;
    let passed = |own| -> Outcome<Passed> {
        let folder = bench.folder()?;
        inside(&Task::new(data(&folder), Measure::Pass { total, waiting: WAITING, own }))
    };
    let (few, own) = (passed(false)?, passed(true)?);
    let told = |passed: Passed| {
        let memory = [passed.before, passed.peak, passed.half, passed.after];
        let memory = memory.map(|bytes| mebibytes(bytes as f64)).join(", ");
        format!("{}; {memory}", rate(passed.rate))
    };
    let left = own.after as f64 / few.after as f64;
    let bound = Bound::AtMost { floor: 1.2, goal: 1.05 };
    let share = format!("{} few keys", times(left));
    Ok(vec![
        Row::told(
            ROW,
            format!("{total} events of 10,000 keys: rate; memory before, most, half way, after"),
            told(few),
        ),
        Row::told(ROW, format!("{total} events, each its own key: the same"), told(own)),
        Row::judged(
            ROW,
            "memory that the keys leave behind",
            mebibytes(own.after as f64),
            share,
            (left, bound),
            times,
        ),
    ])
}

/// `others` events of other keys, beside one with a long queue and a slow step.
fn hot_key(bench: &Bench, others: u64, bound: Option<Bound>) -> Outcome<Vec<Row>> {
    let hot = bench.sizes.keys;
    let (mut alone, mut with_it, mut share) = (Runs::default(), Runs::default(), Runs::default());
    let (mut first, mut first_alone, mut left) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..bench.runs {
        let without = beside(bench, 0, others)?;
        let with = beside(bench, hot, others)?;
        alone.push(without.rate);
        with_it.push(with.rate);
        share.push(with.rate / without.rate);
        first_alone.push(without.first);
        first.push(with.first);
        left.push(with.waiting as f64);
    }
    let firsts = format!("{}, {}", first_alone.told(millis), first.told(millis));
    let what = format!("the same beside {hot} events of one slow key");
    Ok(vec![
        Row::told(ROW, format!("{others} events published and handled"), alone.told(rate)),
        match bound {
            Some(bound) => Row::judged(
                ROW,
                what,
                with_it.told(rate),
                share.told(percent),
                (share.median(), bound),
                percent,
            ),
            None => Row::told(ROW, what, format!("{} = {}", with_it.told(rate), share.told(percent))),
        },
        Row::told(ROW, "until one behind all of them is handled, without and with that key", firsts),
        Row::told(ROW, "of that key left when the others are through", left.told(|n| format!("{n:.0}"))),
    ])
}

/// What is left of the slow key would take an hour: the process is killed.
fn beside(bench: &Bench, hot: u64, others: u64) -> Outcome<Beside> {
    let folder = bench.folder()?;
    let task = Task::new(data(&folder), Measure::Beside { hot, others, waiting: WAITING });
    let (beside, child) = inside_and_hold(&task)?;
    child.kill()?;
    Ok(beside)
}

fn millis(value: f64) -> String {
    format!("{value:.0} ms")
}
