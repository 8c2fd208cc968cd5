//! What loading promises: layers, places, and every problem at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::event::{EventName, Filter, PatternSet, Timestamp};

pub(super) const AUDIT: &str = "[subscription.audit]\nstep = \"audit\"\non = [\"purchase.>\"]\n";

pub(super) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

pub(super) fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

pub(super) fn loaded(files: &[(&str, &str)], env: &[(&str, &str)], flags: &[(&str, &str)]) -> Settings {
    let dir = folder(files);
    load(dir.path(), pairs(env), pairs(flags)).unwrap_or_else(|problems| panic!("{problems}")).settings
}

/// The report, with the folder's path taken out.
pub(super) fn refused(files: &[(&str, &str)], env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
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
