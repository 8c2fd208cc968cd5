//! What loading promises: layers, places, and every problem at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::event::{EventName, Filter, PatternSet, Timestamp};

const AUDIT: &str = "[subscription.audit]\nstep = \"audit\"\non = [\"purchase.>\"]\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn loaded(files: &[(&str, &str)], env: &[(&str, &str)], flags: &[(&str, &str)]) -> Settings {
    let dir = folder(files);
    load(dir.path(), pairs(env), pairs(flags)).unwrap_or_else(|problems| panic!("{problems}")).settings
}

/// The report, with the folder's path taken out.
fn refused(files: &[(&str, &str)], env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    let dir = folder(files);
    let problems = load(dir.path(), pairs(env), pairs(flags)).expect_err("must be refused");
    problems.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn the_shipped_default_file_holds_every_default_and_every_key() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml")).unwrap();

    let settings = loaded(&[("default.toml", &text)], &[], &[]);

    assert_eq!(settings, Settings::default());
    let file: toml::Table = text.parse().unwrap();
    let tables = "http store bus steps log shutdown reload defaults defaults.retry defaults.retry.backoff";
    for table in tables.split(' ') {
        // A key that is like no other makes the report list all that the table may hold.
        let report = refused(&[("default.toml", &text)], &[], &[(&format!("{table}.zzzzzzzz"), "1")]);
        let known = report.split("known keys: ").nth(1).unwrap().lines().next().unwrap();
        let keys = table.split('.').fold(&file, |at, name| at[name].as_table().unwrap());
        for key in known.split(", ") {
            assert!(keys.contains_key(key), "config/default.toml lacks `{key}` in [{table}]");
        }
    }
}

#[test]
fn later_layers_win_key_by_key() {
    let files = [
        (
            "default.toml",
            "[http]\nmax_batch = 1\nmax_wait = \"1s\"\nstatus_ttl = \"1h\"\nworkers = 1\nstrict = true\n",
        ),
        ("topology.toml", "[http]\nmax_wait = \"2s\"\nstatus_ttl = \"2h\"\nworkers = 2\nstrict = true\n"),
        ("local.toml", "[http]\nstatus_ttl = \"3h\"\nworkers = 3\nstrict = true\n"),
    ];
    let env = [("TIDEGATE__HTTP__WORKERS", "4"), ("TIDEGATE__HTTP__STRICT", "true")];

    let settings = loaded(&files, &env, &[("http.strict", "false")]);

    assert_eq!(settings.http.max_batch, 1);
    assert_eq!(settings.http.max_wait, Duration::from_secs(2));
    assert_eq!(settings.http.status_ttl, Duration::from_hours(3));
    assert_eq!(settings.http.workers, 4);
    assert!(!settings.http.strict);
}

#[test]
fn every_kind_of_value_can_come_from_the_environment() {
    let env = [
        ("TIDEGATE__HTTP__BIND", "localhost:0"),
        ("TIDEGATE__HTTP__MAX_BODY", "2MiB"),
        ("TIDEGATE__STORE__PATH", "007"),
        ("TIDEGATE__STORE__ENGINE", "memory"),
        ("TIDEGATE__LOG__FORMAT", "json"),
        ("TIDEGATE__SHUTDOWN__DRAIN", "0s"),
        ("TIDEGATE__DEFAULTS__RETRY__BACKOFF__FACTOR", "3"),
        ("TIDEGATE__SUBSCRIPTION__AUDIT__ON", "a.b, c.d"),
        ("TIDEGATE__SUBSCRIPTION__AUDIT__PURE", "true"),
        ("TIDEGATE__SUBSCRIPTION__AUDIT__RETRY__MAX_ATTEMPTS", "3"),
        ("TIDEGATE__SUBSCRIPTION__AUDIT__FROM", "2026-03-01T08:00:00Z"),
        ("PATH", "/bin"),
        ("TIDEGATE_TOKEN", "not a setting"),
    ];

    let settings = loaded(&[("topology.toml", AUDIT)], &env, &[]);

    assert_eq!(settings.http.bind.to_string(), "127.0.0.1:0");
    assert_eq!(settings.http.max_body, 2 << 20);
    assert_eq!(settings.store.path, Path::new("007"));
    assert_eq!(settings.store.engine, Engine::Memory);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.shutdown.drain, Duration::ZERO);
    let audit = &settings.subscriptions["audit"];
    assert_eq!(audit.on, PatternSet::parse(&["a.b", "c.d"]).unwrap());
    assert!(audit.pure);
    assert_eq!((audit.retry.max_attempts, audit.retry.backoff.factor), (3, 3.0));
    assert_eq!(audit.from, StartFrom::At(Timestamp(1_772_352_000_000)));
}

#[test]
fn a_subscription_has_all_its_keys_and_inherits_the_rest() {
    let text = r#"
        [defaults]
        timeout = "9s"
        [defaults.retry]
        exhausted = "skip"
        [subscription.pay]
        step = "pay"
        on = ["purchase.funds_checked", "!purchase.late"]
        concurrency = 3
        rate = "200/s"
        order = "none"
        retry = { max_attempts = 4, share = 0.25, backoff = { first = "200ms" } }
        breaker = { failures = 7, probe = "3s" }
        on_dead = "purchase.refund_initiated"
        keep_states = true
        from = "start"
    "#;

    let settings = loaded(&[("topology.toml", text)], &[], &[]);

    let backoff = BackoffSettings { first: Duration::from_millis(200), ..BackoffSettings::default() };
    let expected = SubscriptionSettings {
        name: "pay".to_owned(),
        step: "pay".to_owned(),
        on: PatternSet::parse(&["purchase.funds_checked", "!purchase.late"]).unwrap(),
        filter: Filter::default(),
        concurrency: 3,
        rate: Some(Rate { count: 200, per: Duration::from_secs(1) }),
        timeout: Duration::from_secs(9),
        order: Order::None,
        pure: false,
        retry: RetrySettings { max_attempts: 4, backoff, exhausted: Exhausted::Skip, share: 0.25 },
        breaker: Some(BreakerSettings {
            failures: 7,
            window: Duration::from_secs(10),
            probe: Duration::from_secs(3),
        }),
        on_dead: Some(EventName::new("purchase.refund_initiated").unwrap()),
        compensate: false,
        keep_states: true,
        from: StartFrom::Start,
    };
    assert_eq!(settings.subscriptions, BTreeMap::from([("pay".to_owned(), expected)]));
}

#[test]
fn application_tables_are_handed_through() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bank {
        #[serde(deserialize_with = "deserialize_duration")]
        latency: Duration,
        tries: u32,
        accounts: Vec<String>,
    }
    let file = "[app.bank]\nlatency = \"5ms\"\ntries = 3\naccounts = [\"a\"]\n[app.other]\ntries = \"x\"\n";
    let env = [("TIDEGATE__APP__BANK__TRIES", "7"), ("TIDEGATE__APP__BANK__ACCOUNTS", "b,c")];

    let settings = loaded(&[("topology.toml", file)], &env, &[("app.bank.latency", "2s")]);

    let bank: Bank = settings.app("bank").unwrap();
    assert_eq!((bank.latency, bank.tries), (Duration::from_secs(2), 7));
    assert_eq!(bank.accounts, ["b", "c"]);
    let problems = settings.app::<Bank>("other").unwrap_err();
    assert_eq!(
        problems.iter().map(|problem| problem.place.line).collect::<Vec<_>>(),
        [Some(5)],
        "{problems}"
    );
}

#[test]
fn attributes_are_compared_in_their_text_form() {
    let text =
        format!("{AUDIT}where = {{ channel = \"web\", source = \"/shop\", batch = 7, test = false }}\n");

    let settings =
        loaded(&[("topology.toml", &text)], &[("TIDEGATE__SUBSCRIPTION__AUDIT__WHERE__BATCH", "8")], &[]);

    let filter = settings.subscriptions["audit"].filter.attributes();
    let found: Vec<_> = filter.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, [("batch", "8"), ("channel", "web"), ("source", "/shop"), ("test", "false")]);
}

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
fn a_folder_that_cannot_be_read_or_holds_nothing_is_refused() {
    let dir = folder(&[("file", "")]);
    for (path, expected) in [
        (dir.path().join("none"), "the config folder cannot be read"),
        (dir.path().join("file"), "the config folder cannot be read"),
        (dir.path().to_path_buf(), "the folder has neither default.toml nor topology.toml"),
    ] {
        let report = load(&path, [], []).unwrap_err().to_string();
        assert!(report.starts_with(&path.display().to_string()) && report.contains(expected), "{report}");
        assert!(report.contains("--config"), "{report}");
    }
    fs::create_dir(dir.path().join("topology.toml")).unwrap();
    let report = load(dir.path(), [], []).unwrap_err().to_string();
    assert!(report.contains("topology.toml: the file cannot be read"), "{report}");
}

#[test]
fn what_is_not_read_is_a_warning() {
    let dir = folder(&[("default.toml", ""), ("topolgy.toml", AUDIT)]);

    let loaded = load(dir.path(), pairs(&[("TIDEGATE_HTTP_BIND", "x")]), []).unwrap();

    let report = loaded.warnings.to_string();
    assert!(report.contains("topolgy.toml: warning: the file is not read"), "{report}");
    assert!(report.contains("did you mean topology.toml?"), "{report}");
    assert!(report.contains("topology.toml: warning: the file is missing"), "{report}");
    assert!(
        report.contains("TIDEGATE_HTTP_BIND: warning") && report.contains("TIDEGATE__HTTP__BIND"),
        "{report}"
    );
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

#[test]
fn inline_tables_of_different_layers_are_merged_and_lists_are_replaced() {
    let topology = "[subscription.pay]\nstep = \"pay\"\non = [\"a\", \"b\"]\nretry = { max_attempts = 4, backoff = { first = \"1s\" } }\n";
    let local = "[subscription.pay]\non = [\"c\"]\nretry.backoff.max = \"3s\"\n";

    let settings = loaded(&[("topology.toml", topology), ("local.toml", local)], &[], &[]);

    let pay = &settings.subscriptions["pay"];
    assert_eq!(pay.on, PatternSet::parse(&["c"]).unwrap());
    assert_eq!((pay.retry.max_attempts, pay.retry.backoff.first), (4, Duration::from_secs(1)));
    assert_eq!(pay.retry.backoff.max, Duration::from_secs(3));
}

#[test]
fn an_odd_key_never_reaches_another_ones_place() {
    for (text, place) in [
        ("\"http.bind\" = \"127.0.0.1:1\"", "topology.toml:1:1: unknown key `http.bind`"),
        ("\"subscription[0]\" = 1", "topology.toml:1:1: unknown key `subscription[0]`"),
        ("\"\" = 1", "topology.toml:1:1: unknown key ``"),
        ("[http]\nBind = \"127.0.0.1:1\"", "topology.toml:2:1: unknown key `Bind` in [http]"),
        ("[http]\nworkers = 1\nworkers = 2", "topology.toml:3:1: not valid TOML: duplicate key"),
        ("[http]\r\nworkers = -1\r\n", "topology.toml:2:11: `http.workers` must be"),
    ] {
        let report = refused(&[("topology.toml", text)], &[], &[]);
        assert!(report.contains(place) && report.contains("1 error,"), "{text}\n---\n{report}");
    }
    assert!(load_text("\u{feff}[http]\nworkers = 1\n").is_ok(), "a byte order mark is no key");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_loading_panic_and_every_error_has_a_place(
        at in 0_usize..1_400,
        length in 0_usize..40,
        junk in "[\\[\\]{}=\"'#.,a-z0-9_ \n\té-]{0,12}",
    ) {
        let text = format!("[app.x]\ny = 1\n{AUDIT}{}", include_str!("../../config/default.toml"));
        let chars: Vec<char> = text.chars().collect();
        let head: String = chars.iter().take(at).collect();
        let tail: String = chars.iter().skip(at + length).collect();
        if let Err(problems) = load_text(&format!("{head}{junk}{tail}")) {
            for problem in problems.errors() {
                proptest::prop_assert!(problem.place.line.is_some(), "{problem}");
            }
        }
    }
}
