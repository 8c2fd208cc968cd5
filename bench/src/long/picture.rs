//! The picture of a long run: throughput, latency, memory and disk over its time.

use super::axis::Scale;
use super::chart::{Chart, Look, Panel, Series};
use super::verdict::Ends;
use super::watch::Sample;
use crate::stats::{mebibytes, millis, rate};

/// So that the axis has round values.
const MIB: f64 = 1_048_576.0;

/// The four panels.
pub(super) fn picture(title: String, subtitles: Vec<String>, samples: &[Sample], ends: &Ends) -> Chart {
    let line = |name: &'static str, value: fn(&Sample) -> f64| {
        let points = samples.iter().map(|sample| (sample.at / 60.0, value(sample))).collect();
        Series { name, look: Look::Plain, points }
    };
    let filled = |name, value| Series { look: Look::Filled, ..line(name, value) };
    let panels = vec![
        Panel {
            name: "Throughput",
            note: format!("events a second; accepted: {}", ends.told(|part| part.accepted, rate)),
            scale: Scale::Linear,
            show: rate,
            series: vec![
                Series { look: Look::Wide, ..line("accepted", |sample| sample.accepted) },
                line("handled", |sample| sample.handled),
            ],
        },
        Panel {
            name: "Latency",
            note: format!("from due until answered; p99: {}", ends.told(|part| part.p99, millis)),
            scale: Scale::Log,
            show: |value| if value < 1e3 { format!("{value} ms") } else { format!("{} s", value / 1e3) },
            series: vec![
                line("median", |sample| sample.times.percentile(0.5)),
                line("p99", |sample| sample.times.percentile(0.99)),
            ],
        },
        Panel {
            name: "Memory",
            note: format!("resident; {}", ends.told(|part| part.resident, mebibytes)),
            scale: Scale::Linear,
            show: |value| format!("{value} MiB"),
            series: vec![filled("server", |sample| sample.resident as f64 / MIB)],
        },
        Panel {
            name: "Disk",
            note: format!("data folder; {}", ends.told(|part| part.disk, mebibytes)),
            scale: Scale::Linear,
            show: |value| format!("{value} MiB"),
            // One upon the other: the second is drawn over the lower part of the first.
            series: vec![
                filled("journal and sled", |sample| sample.disk() as f64 / MIB),
                filled("sled", |sample| sample.sled as f64 / MIB),
            ],
        },
    ];
    let at = |sample: Option<&Sample>| sample.map_or(0.0, |sample| sample.at / 60.0);
    Chart { title, subtitles, time: (at(samples.first()), at(samples.last()).max(0.1)), panels }
}
