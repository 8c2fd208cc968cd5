//! Fail points: the child dies where it is told, and says where it has been.

#[cfg(feature = "failpoints")]
pub(crate) use with::{arm, run};
#[cfg(not(feature = "failpoints"))]
pub(crate) use without::{arm, run};

#[cfg(not(feature = "failpoints"))]
mod without {
    use crate::report::Report;
    use crate::{Outcome, work::WorkArgs};

    /// Nothing to arm.
    pub(crate) fn arm(args: &WorkArgs) -> Outcome<()> {
        match args.fail {
            None => Ok(()),
            Some(_) => Err("this program was built without the feature `failpoints`".into()),
        }
    }

    /// Left out.
    #[expect(clippy::unnecessary_wraps, reason = "the other one of this name can fail")]
    pub(crate) fn run(_: u64, _: u64, report: &mut Report) -> Outcome<()> {
        report.left_out("process death at fail points (R2): build with `--features failpoints`");
        Ok(())
    }
}

#[cfg(feature = "failpoints")]
mod with {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use tidegate::store::faults::{Point, arm as arm_point, reached};

    use crate::check::Expect;
    use crate::dice::Dice;
    use crate::report::Report;
    use crate::site::{Ended, Site};
    use crate::time::Watch;
    use crate::work::{Oracle, WorkArgs};
    use crate::{Outcome, say};

    /// Deaths at one site before it is begun anew, so that checking stays cheap.
    const DEATHS: usize = 6;
    /// How long a child may take to reach its point.
    const PATIENCE: Duration = Duration::from_mins(3);
    /// How often the child writes down where it has been.
    const TOLD_EVERY: Duration = Duration::from_millis(20);

    /// Arms the point that the child was told, and writes down what is reached.
    pub(crate) fn arm(args: &WorkArgs) -> Outcome<()> {
        if let Some(fail) = &args.fail {
            let (name, passes) = fail.split_once(':').ok_or("a fail point is NAME:PASSES")?;
            let point = Point::ALL.iter().find(|point| point.name() == name);
            arm_point(*point.ok_or_else(|| format!("no fail point is called {name}"))?, passes.parse()?);
        }
        let path = Oracle(args.oracle.clone()).reached();
        std::thread::spawn(move || {
            loop {
                let lines: Vec<_> = reached().into_iter().map(|(point, _)| point.name()).collect();
                // Read only where the driver asks which points the load comes by.
                drop(std::fs::write(&path, lines.join("\n")));
                crate::time::pause(TOLD_EVERY);
            }
        });
        Ok(())
    }

    /// Dies at every point, `rounds` times each, restarts and checks after each death.
    pub(crate) fn run(rounds: u64, seed: u64, report: &mut Report) -> Outcome<()> {
        let watch = Watch::start();
        let mut dice = Dice::new(seed);
        let (mut died, mut violations) = (BTreeSet::new(), Vec::new());
        let mut count = 0;
        let plan: Vec<(Point, u64)> =
            Point::ALL.iter().flat_map(|point| (0..rounds).map(|round| (*point, round))).collect();
        for chunk in plan.chunks(DEATHS) {
            // What stays pins the journal: then nothing of it is ever removed.
            let removes = |(point, _): &(Point, u64)| {
                ["begin", "segment-removing", "segment-removed", "segment-gone"]
                    .iter()
                    .any(|name| point.name().starts_with(name))
            };
            let site = Site::new(100, !chunk.iter().any(removes) && dice.roll(2) == 0)?;
            for (point, round) in chunk {
                // Its file is made once, with everything else.
                let fresh = point.name().starts_with("begin").then(|| Site::new(100, false)).transpose()?;
                let site = fresh.as_ref().unwrap_or(&site);
                let passes = if *round == 0 { 0 } else { dice.roll(12) };
                let broken = die(site, *point, passes, dice.next())?;
                died.extend(broken.is_some().then_some(*point));
                count += 1;
                let broken = broken.unwrap_or_else(|| vec!["the process did not die there".to_owned()]);
                violations.extend(broken.into_iter().map(|broken| format!("{}: {broken}", point.name())));
            }
        }
        let missed: Vec<_> = Point::ALL.iter().filter(|point| !died.contains(point)).collect();
        if !missed.is_empty() {
            violations.push(format!("never reached: {missed:?}"));
        }
        let what = format!("{} of {} fail points, {count} deaths", died.len(), Point::ALL.len());
        report.row("R2", "process death at every fail point", &what, seed, watch.elapsed(), violations);
        Ok(())
    }

    /// One death: at this point, after it was passed so often; then a restart and a look. `None` when it did not
    /// die there.
    fn die(site: &Site, point: Point, passes: u64, seed: u64) -> Outcome<Option<Vec<String>>> {
        // A torn write has to be there before it can be cut.
        if point == Point::TailCut {
            site.work(&["--fail", "mid-write:30", "--seed", &seed.to_string()])?.wait(PATIENCE)?;
        }
        let is_at_end = point == Point::Closing;
        let passes = match point {
            // Once at a start, or at an end.
            Point::TailCut
            | Point::TailRewritten
            | Point::Recovered
            | Point::Closing
            | Point::BeginSynced
            | Point::BeginRenamed
            | Point::BeginPublished => 0,
            _ => passes,
        };
        // There is nothing to write again in a store that was never used.
        if matches!(point, Point::TailRewritten) {
            site.work(&["--fail", "synced:30", "--seed", &seed.to_string()])?.wait(PATIENCE)?;
        }
        let fail = format!("{}:{passes}", point.name());
        let seed = seed.to_string();
        let mut args = vec!["--fail", &fail, "--seed", &seed];
        if is_at_end {
            args.extend(["--publish", "300"]);
        }
        match site.work(&args)?.wait(PATIENCE)? {
            Ended::Aborted => {}
            other => {
                say(&format!("   {fail}: {other}"));
                return Ok(None);
            }
        }
        let broken = site.restart_and_check(Expect { retention: true, later_done: false })?;
        say(&format!("   {fail}: {}", if broken.is_empty() { "nothing lost" } else { "BROKEN" }));
        Ok(Some(broken))
    }
}
