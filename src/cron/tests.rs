use super::*;

fn table(cron: &str, zone: &str) -> TimeTable {
    TimeTable::new(Cron::parse(cron).unwrap(), Zone::named(zone).unwrap())
}

fn at(text: &str) -> Timestamp {
    timestamp(text.parse().unwrap()).unwrap()
}

/// The next times after `from`, in UTC and without date's century or seconds.
fn next(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let (table, mut time) = (table(cron, zone), at(from));
    let mut found = Vec::new();
    for _ in 0..count {
        time = table.after(time).unwrap();
        found.push(time.to_string().replace(":00.000Z", "Z"));
    }
    found
}

#[test]
fn fields_are_numbers_ranges_steps_lists_and_names() {
    let from = "2026-01-01T00:00:00Z";
    for (cron, times) in [
        ("*/20 * * * *", ["2026-01-01T00:20Z", "2026-01-01T00:40Z", "2026-01-01T01:00Z"]),
        ("5/25 3 * * *", ["2026-01-01T03:05Z", "2026-01-01T03:30Z", "2026-01-01T03:55Z"]),
        ("0 2 * * *", ["2026-01-01T02:00Z", "2026-01-02T02:00Z", "2026-01-03T02:00Z"]),
        ("0 0 1,15 * *", ["2026-01-15T00:00Z", "2026-02-01T00:00Z", "2026-02-15T00:00Z"]),
        ("30 8 * * mon-wed", ["2026-01-05T08:30Z", "2026-01-06T08:30Z", "2026-01-07T08:30Z"]),
        ("0 12 * FEB,nov 7", ["2026-02-01T12:00Z", "2026-02-08T12:00Z", "2026-02-15T12:00Z"]),
        ("0 0 13 * 5", ["2026-01-02T00:00Z", "2026-01-09T00:00Z", "2026-01-13T00:00Z"]),
        ("0 0 29 2 *", ["2028-02-29T00:00Z", "2032-02-29T00:00Z", "2036-02-29T00:00Z"]),
        ("@monthly", ["2026-02-01T00:00Z", "2026-03-01T00:00Z", "2026-04-01T00:00Z"]),
    ] {
        assert_eq!(next(cron, "UTC", from, 3), times, "{cron}");
    }
}

#[test]
fn what_is_wrong_is_told_by_its_field() {
    for (cron, told) in [
        ("", "has 0 fields"),
        ("0 2 * *", "has 4 fields"),
        ("0 0 2 * * *", "has 6 fields"),
        ("60 2 * * *", "minute `60` is no number from 0 to 59"),
        ("0 24 * * *", "hour `24`"),
        ("0 2 0 * *", "day of the month `0`"),
        ("0 2 * 13 *", "month `13`"),
        ("0 2 * * 8", "day of the week `8`"),
        ("0 2 L * *", "day of the month `L`"),
        ("0 5-3 * * *", "`5-3` goes backwards"),
        ("*/0 * * * *", "`*/0` has no step"),
        ("+5 * * * *", "minute `+5`"),
        (", * * * *", "minute ``"),
        ("0 0 30 feb *", "no such day ever comes"),
        ("@often", "has 1 fields"),
    ] {
        let error = Cron::parse(cron).unwrap_err().to_string();
        assert!(error.contains(told), "{cron}: {error}");
    }
    assert_eq!(Zone::named("Europe/Berlim"), None);
    assert!(Zone::names().iter().any(|name| name == "Europe/Berlin"));
}

#[test]
fn a_zone_is_that_of_the_binary_and_its_clock_decides() {
    assert_eq!(
        next("0 2 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T01:00Z"],
        "in winter"
    );
    assert_eq!(next("0 2 * * *", "Europe/Berlin", "2026-07-01T12:00:00Z", 1), ["2026-07-02T00:00Z"]);
    assert_eq!(next("0 2 * * *", "asia/kathmandu", "2026-07-01T12:00:00Z", 1), ["2026-07-01T20:15Z"]);
}

#[test]
fn an_hour_that_there_is_not_has_a_named_time_once_and_later() {
    // 29 March 2026 in Berlin: 02:00 is followed by 03:00, at 01:00 UTC.
    let from = "2026-03-28T12:00:00Z";
    let due = |cron| next(cron, "Europe/Berlin", from, 3);
    assert_eq!(due("0 2 * * *"), ["2026-03-29T01:00Z", "2026-03-30T00:00Z", "2026-03-31T00:00Z"]);
    assert_eq!(due("30 2 * * *"), ["2026-03-29T01:30Z", "2026-03-30T00:30Z", "2026-03-31T00:30Z"]);
    assert_eq!(
        due("30 2,3 * * *"),
        ["2026-03-29T01:30Z", "2026-03-30T00:30Z", "2026-03-30T01:30Z"],
        "twice the same time is once"
    );
    assert_eq!(
        next("0-59/30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
        ["2026-03-29T01:00Z", "2026-03-29T01:30Z", "2026-03-30T00:00Z"]
    );
}

#[test]
fn an_hour_that_there_is_twice_has_a_named_time_once() {
    // 25 October 2026 in Berlin: 03:00 is followed by 02:00, at 01:00 UTC.
    let due = |cron, from| next(cron, "Europe/Berlin", from, 2);
    assert_eq!(due("30 2 * * *", "2026-10-24T12:00:00Z"), ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
    assert_eq!(due("30 2 * * *", "2026-10-25T00:30:00Z"), ["2026-10-26T01:30Z", "2026-10-27T01:30Z"]);
    assert_eq!(due("30 2 * * *", "2026-10-25T01:00:00Z"), ["2026-10-26T01:30Z", "2026-10-27T01:30Z"]);
    assert_eq!(due("0 3 * * *", "2026-10-25T00:30:00Z"), ["2026-10-25T02:00Z", "2026-10-26T02:00Z"]);
}

#[test]
fn a_time_with_a_star_goes_by_elapsed_time() {
    let due = |cron, from| next(cron, "Europe/Berlin", from, 4);
    assert_eq!(
        due("30 * * * *", "2026-10-24T23:45:00Z"),
        ["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z", "2026-10-25T03:30Z"]
    );
    assert_eq!(
        due("*/30 * * * *", "2026-03-29T00:15:00Z"),
        ["2026-03-29T00:30Z", "2026-03-29T01:00Z", "2026-03-29T01:30Z", "2026-03-29T02:00Z"]
    );
    assert_eq!(
        due("*/30 2 * * *", "2026-03-28T00:45:00Z"),
        ["2026-03-28T01:00Z", "2026-03-28T01:30Z", "2026-03-30T00:00Z", "2026-03-30T00:30Z"],
        "no such hour on the 29th"
    );
}

#[test]
fn the_latest_and_the_count_agree_with_one_after_the_other() {
    for (cron, zone) in
        [("*/7 * * * *", "UTC"), ("30 2 * * *", "Europe/Berlin"), ("0 0 1 1 *", "America/New_York")]
    {
        let table = table(cron, zone);
        let (from, until) = (at("2026-03-27T11:59:59.999Z"), at("2026-11-01T00:00:00Z"));
        let (mut all, mut time) = (Vec::new(), from);
        while let Some(next) = table.after(time).filter(|next| *next <= until) {
            assert!(next > time, "{cron}");
            all.push(next);
            time = next;
        }
        assert_eq!(table.latest(from, until), all.last().copied(), "{cron}");
        assert_eq!(table.count(from, until, u64::MAX), all.len() as u64, "{cron}");
    }
    let often = table("* * * * *", "UTC");
    assert_eq!(often.count(Timestamp(0), at("2026-01-01T00:00:00Z"), 10_000), 10_000);
    assert_eq!(often.latest(Timestamp(0), at("2026-01-01T00:00:30Z")), Some(at("2026-01-01T00:00:00Z")));
    assert_eq!(often.latest(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z")), None);
    assert_eq!(often.after(Timestamp(u64::MAX)), None);
}
