//! A slip in the configuration is told with its place and a remedy.

use super::tests::{AUDIT, folder, refused};
use super::*;

/// One bad line in one file, what the report says about it.
#[test]
fn a_slip_in_a_file_is_told_with_its_place_and_a_remedy() {
    let cases: &[(&str, &[&str])] = &[
        (
            "[http]\nstatus_tll = \"1h\"",
            &["topology.toml:2:1: unknown key `status_tll` in [http]", "did you mean `status_ttl`?"],
        ),
        (
            "[htpp]\nbind = \"127.0.0.1:1\"",
            &["topology.toml:1:2: unknown table `htpp`", "did you mean `http`?"],
        ),
        ("http = 5", &["topology.toml:1:8: `http` must be a table"]),
        ("[http]\nbind = 7070", &["2:8: `http.bind` must be an address and a port, not the number 7070"]),
        ("[http]\nbind = \"everywhere\"", &["2:8:", "write \"127.0.0.1:7070\""]),
        (
            "[http]\nstatus_ttl = 5",
            &["2:14: `http.status_ttl` must be a duration, not the number 5", "\"24h\""],
        ),
        ("[http]\nstatus_ttl = \"5 minutes\"", &["2:14:", "not \"5 minutes\"", "\"10m\""]),
        ("[http]\nmax_body = \"1mb\"", &["2:12: `http.max_body` must be a size", "\"64KiB\""]),
        ("[http]\nstrict = \"true\"", &["2:10: `http.strict` must be true or false", "without quotes"]),
        (
            "[http]\nmax_batch = 0",
            &["2:13: `http.max_batch` must be a whole number from 1 to 100000, not the number 0"],
        ),
        ("[http]\nbind = \"0.0.0.0:7070\"", &["2:8: `http.bind` is outside", "bind 127.0.0.1 or [::1]"]),
        ("[http]\ndedupe_window = \"1h\"", &["2:17: `http.dedupe_window` is shorter than `http.status_ttl`"]),
        ("[http]\nstatus_ttl = \"48h\"", &["2:14: `http.dedupe_window` is shorter than `http.status_ttl`"]),
        ("[store]\nengine = \"nats\"", &["2:10:", "\"nats\" is not there yet"]),
        ("[store]\nengine = \"slde\"", &["2:10:", "did you mean `sled`?"]),
        ("[store]\npath = \"\"", &["2:8: `store.path` must be a text that is not empty"]),
        ("[log]\nformat = \"jsn\"", &["2:10:", "did you mean `json`?"]),
        ("[defaults]\nconcurrency = 0", &["2:15: `defaults.concurrency`", "from 1 to"]),
        ("[defaults]\ntimeout = \"0s\"", &["2:11: `defaults.timeout` must be at least 1ms"]),
        ("[defaults.retry]\nmax_attempts = 0", &["2:16: `defaults.retry.max_attempts`"]),
        (
            "[defaults.retry.backoff]\njitter = 1.5",
            &["2:10: `defaults.retry.backoff.jitter` must be a number from 0 to 1"],
        ),
        (
            "[defaults.retry.backoff]\nfactor = 0.5",
            &["2:10: `defaults.retry.backoff.factor` must be a number from 1"],
        ),
        (
            "[defaults.retry.backoff]\nfirst = \"5s\"\nmax = \"1s\"",
            &["3:7: `defaults.retry.backoff.max` is shorter"],
        ),
        ("[defaults.retry]\nexhausted = \"drop\"", &["2:13:", "\"park\" or \"skip\", not \"drop\""]),
        ("a = [1,\nb = 2", &["not valid TOML"]),
        ("[http]\nworkers = 99999999999999999999", &["2:11: the number is too large for 64 bits"]),
    ];
    for (text, expected) in cases {
        assert_one_slip(text, expected);
    }
}

fn assert_one_slip(text: &str, expected: &[&str]) {
    let report = refused(&[("topology.toml", text)], &[], &[]);
    for part in expected {
        assert!(report.contains(part), "{text}\n---\n{report}\n--- lacks: {part}");
    }
    assert!(report.contains("1 error,"), "one slip is one error: {text}\n---\n{report}");
}

#[test]
fn a_slip_in_a_subscription_is_told_with_its_place_and_a_remedy() {
    let cases: &[(&str, &[&str])] = &[
        (
            "concurency = 5",
            &[
                "topology.toml:4:1: unknown key `concurency` in [subscription.audit]",
                "did you mean `concurrency`?",
            ],
        ),
        ("breaker = { failures = 0 }", &["4:24:", "a whole number from 1 to 100000"]),
        ("breaker = { probes = 5 }", &["4:13: unknown key `probes` in [subscription.audit.breaker]"]),
        ("breaker = 5", &["4:11: `subscription.audit.breaker` must be a table"]),
        ("retry = { share = 0 }", &["4:19:", "a number from 0.001 to 1"]),
        ("where = \"web\"", &["4:9: `subscription.audit.where` must be a table"]),
        ("where = { channel = 0.5 }", &["4:21: `subscription.audit.where.channel`", "not the number 0.5"]),
        ("where = { id = \"1\" }", &["4:16:", "differs from event to event"]),
        ("where = { sales-channel = \"web\" }", &["4:27:", "lower-case letters and digits"]),
        ("webhook = \"https://a\"", &["4:1: unknown key `webhook`"]),
        ("rate = \"200\"", &["4:8:", "must be a rate", "\"10/m\""]),
        ("order = \"keys\"", &["4:9:", "did you mean `key`?"]),
        ("on_dead = \"Refund\"", &["4:11:", "dotted lower case"]),
        ("on_dead = \"tidegate.dead\"", &["4:11:", "the bus's own"]),
        ("compensate = true\non_dead = \"order.refund\"", &["4:14:", "choose one"]),
        ("from = \"yesterday\"", &["4:8:", "RFC 3339"]),
        ("retry = 3", &["4:9: `subscription.audit.retry` must be a table"]),
        ("retry = { atempts = 3 }", &["4:11: unknown key `atempts` in [subscription.audit.retry]"]),
        ("pure = 1", &["4:8:", "true or false, not the number 1"]),
        (
            "[subscription.Audit-Log]\nstep = \"a\"\non = [\"a\"]",
            &["4:15: subscription name \"Audit-Log\"", "send_receipt"],
        ),
        ("[subscription.pay]\non = [\"a\"]", &["4:15: subscription `pay` has no `step`"]),
        ("[subscription.pay]\nstep = \"pay\"", &["4:15: subscription `pay` has no `on`"]),
        (
            "[subscription.pay]\nstep = \"pay\"\non = \"a.b\"",
            &["6:6: `subscription.pay.on` must be a list of texts"],
        ),
        ("[subscription.pay]\nstep = \"pay\"\non = []", &["6:6: `subscription.pay.on` matches nothing"]),
        (
            "[subscription.pay]\nstep = \"pay\"\non = [\"!a\"]",
            &["6:6: `subscription.pay.on` matches nothing"],
        ),
        (
            "[subscription.pay]\nstep = \"pay\"\non = [\n  \"a.b\",\n  \"a..b\",\n]",
            &["8:3: pattern \"a..b\" has an empty token"],
        ),
        (
            "[subscription.pay]\nstep = \"pay\"\non = [\"a\", \"tidegate.*\"]",
            &["6:12: pattern \"tidegate.*\" can match nothing"],
        ),
        ("[[subscription.pay]]\nstep = \"pay\"", &["must be a table"]),
    ];
    for (text, expected) in cases {
        let report = refused(&[("topology.toml", &format!("{AUDIT}{text}"))], &[], &[]);
        for part in *expected {
            assert!(report.contains(part), "{text}\n---\n{report}\n--- lacks: {part}");
        }
        assert!(report.contains("1 error,"), "one slip is one error: {text}\n---\n{report}");
    }
}

#[test]
fn a_slip_outside_the_files_names_its_variable_or_flag() {
    let file = format!("{AUDIT}[app.bank]\nlatency = \"1s\"\ntries = 3\n");
    let env: &[(&str, &str, &[&str])] = &[
        (
            "TIDEGATE__HTTP__BNID",
            "x",
            &["TIDEGATE__HTTP__BNID: names key `bnid` in [http]", "did you mean `bind`?"],
        ),
        ("TIDEGATE__HTPP__BIND", "x", &["TIDEGATE__HTPP__BIND: names table `htpp`", "did you mean `http`?"]),
        ("TIDEGATE__HTTP__BIND", "x", &["TIDEGATE__HTTP__BIND: `http.bind` must be an address and a port"]),
        ("TIDEGATE__HTTP__BIND", "", &["TIDEGATE__HTTP__BIND: "]),
        (
            "TIDEGATE__HTTP__WORKERS",
            "many",
            &["TIDEGATE__HTTP__WORKERS: `http.workers` must be a whole number"],
        ),
        ("TIDEGATE__HTTP", "x", &["TIDEGATE__HTTP: `http` must be a table"]),
        (
            "TIDEGATE__HTTP__BIND__X",
            "1",
            &["TIDEGATE__HTTP__BIND__X: `http.bind` must be an address and a port, not a table"],
        ),
        (
            "TIDEGATE__SUBSCRIPTION__AUDITT__CONCURRENCY",
            "2",
            &[
                "TIDEGATE__SUBSCRIPTION__AUDITT__CONCURRENCY: names subscription `auditt`, which no file has",
                "did you mean `audit`?",
            ],
        ),
        (
            "TIDEGATE__SUBSCRIPTION__AUDIT__CONCURENCY",
            "2",
            &["`concurency` in [subscription.audit]", "did you mean `concurrency`?"],
        ),
        (
            "TIDEGATE__SUBSCRIPTION__AUDIT__ON",
            "a..b",
            &["TIDEGATE__SUBSCRIPTION__AUDIT__ON: pattern \"a..b\""],
        ),
        ("TIDEGATE__APP__BANK__LATNECY", "1s", &["names `latnecy` in [app.bank]", "did you mean `latency`?"]),
        ("TIDEGATE__APP__BNAK__LATENCY", "1s", &["names `bnak` in [app]", "did you mean `bank`?"]),
        ("TIDEGATE__APP__BANK__TRIES", "some", &["`app.bank.tries` must be a whole number"]),
        ("TIDEGATE__", "1", &["TIDEGATE__: is not the name of a key"]),
        ("TIDEGATE__HTTP___BIND", "1", &["is not the name of a key"]),
    ];
    for (name, value, expected) in env {
        let report = refused(&[("topology.toml", &file)], &[(name, value)], &[]);
        for part in *expected {
            assert!(report.contains(part), "{name}={value}\n---\n{report}\n--- lacks: {part}");
        }
        assert!(report.contains("1 error,"), "one slip is one error: {name}\n---\n{report}");
    }
    let report = refused(&[("topology.toml", &file)], &[], &[("http.bnid", "x"), ("a..b", "x")]);
    assert!(
        report.contains("flag http.bnid: names key `bnid`") && report.contains("flag a..b: is not a key"),
        "{report}"
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_layers() {
    let files = [
        ("default.toml", "[http]\nstrict = 1\nmax_batch = 0\n"),
        ("local.toml", "[log]\nformt = \"text\"\n"),
        ("topology.toml", "[subscription.a]\nstep = \"a\"\non = [\"A\", \"b..c\"]\n"),
    ];

    let report = refused(&files, &[("TIDEGATE__STORE__CASHE", "1MiB")], &[("bus.x", "1")]);

    let heads: Vec<&str> =
        report.lines().filter(|line| line.contains(": ") && !line.starts_with(' ')).collect();
    let places: Vec<&str> = heads.iter().filter_map(|head| head.split(": ").next()).collect();
    let expected = [
        "default.toml:2:10",
        "default.toml:3:13",
        "topology.toml:3:7",
        "topology.toml:3:12",
        "local.toml:2:1",
        "TIDEGATE__STORE__CASHE",
        "flag bus.x",
    ];
    assert_eq!(places, expected, "{report}");
    assert!(report.ends_with("7 errors, 0 warnings"), "{report}");
}

#[test]
fn the_line_is_shown_with_a_caret_below_the_slip() {
    let report = refused(&[("topology.toml", "[http]\n\tmax_wait = \"é\" # why\n")], &[], &[]);

    let expected = "topology.toml:2:13: `http.max_wait` must be a duration, not \"é\"\n  2 | \tmax_wait = \"é\" # why\n    | \t           ^^^\n  = write";
    assert!(report.starts_with(expected), "{report}");
}

#[test]
fn a_file_that_does_not_parse_hides_no_other_file_and_accuses_nobody_else() {
    let files = [
        ("default.toml", "[http]\nstrict = 1\n"),
        ("topology.toml", "[subscription.audit\nstep = \"audit\"\n"),
    ];

    let report = refused(&files, &[("TIDEGATE__SUBSCRIPTION__AUDIT__CONCURRENCY", "2")], &[]);

    assert!(report.contains("topology.toml:1:20: not valid TOML"), "{report}");
    assert!(report.contains("default.toml:2:10: `http.strict`"), "{report}");
    assert!(!report.contains("TIDEGATE__"), "{report}");
}

#[test]
fn problems_have_a_machine_form() {
    let dir = folder(&[("topology.toml", "[http]\nbnid = 1\n")]);
    let problems = load(dir.path(), [], []).unwrap_err();

    let json = serde_json::to_value(&problems).unwrap();

    let first = &json["errors"][0];
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(2), Some(1)));
    assert_eq!(first["excerpt"], "bnid = 1");
    assert_eq!(first["help"], "did you mean `bind`?");
    assert!(first["origin"].as_str().unwrap().ends_with("topology.toml"));
    assert_eq!(json["warnings"].as_array().unwrap().len(), 0);
}
