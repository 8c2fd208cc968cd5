//! The arguments, the exit codes and the words for failures.

use super::args::{DeadVerb, SubscriptionsVerb};
use super::failure::Problem;
use super::*;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_of_the_arguments_holds_together() {
    Arguments::command().debug_assert();
}

#[test]
fn serve_is_what_happens_without_a_command_and_takes_the_config_on_either_side() {
    let bare = parse("tidegate --config here --set http.bind=127.0.0.1:0").unwrap();
    assert!(bare.verb.is_none());
    assert_eq!(bare.config.config.as_deref(), Some("here".as_ref()));
    assert_eq!(bare.config.set, [("http.bind".to_owned(), "127.0.0.1:0".to_owned())]);

    let both = parse("tidegate --config above --set a.b=1 serve --config below --set a.c=x=y").unwrap();
    let Some(Verb::Serve(config)) = both.verb else { panic!("no serve") };
    let config = config.or(both.config);
    assert_eq!(config.config.as_deref(), Some("below".as_ref()));
    assert_eq!(config.set.last(), Some(&("a.c".to_owned(), "x=y".to_owned())));
    assert_eq!(config.set.len(), 2);
}

#[test]
fn json_goes_before_and_behind_the_command() {
    assert!(parse("tidegate --json status o1").unwrap().json);
    assert!(parse("tidegate status o1 --json").unwrap().json);
    assert!(!parse("tidegate status o1").unwrap().json);
}

#[test]
fn the_server_is_named_before_or_behind_the_command() {
    let url = |line: &str| match parse(line).unwrap().verb {
        Some(Verb::Flow(args)) => args.server.url,
        Some(Verb::Dead(DeadVerb::List { server, .. })) => server.url,
        Some(Verb::Subscriptions(args)) => match args.verb {
            Some(SubscriptionsVerb::Pause { server, .. }) => server.url,
            _ => args.server.url,
        },
        other => panic!("{line}: {other:?}"),
    };
    for line in [
        "tidegate --url http://bus flow f1",
        "tidegate flow f1 --url http://bus",
        "tidegate --url http://bus dead list",
        "tidegate dead --url http://bus list",
        "tidegate dead list --url http://bus",
        "tidegate --url http://bus subscriptions",
        "tidegate subscriptions --url http://bus pause pay",
        "tidegate subscriptions pause pay --url http://bus",
        "tidegate --url http://other subscriptions pause pay --url http://bus",
    ] {
        assert_eq!(url(line), "http://bus", "{line}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for line in [
        "tidegate publish Order.placed {}",
        "tidegate publish order.placed - --lines --id o1",
        "tidegate publish order.placed {} --count 2 --lines",
        "tidegate publish order.placed --count 2",
        "tidegate publish order.placed - --lines --wait 3",
        "tidegate flow f1 --source /billing",
        "tidegate dead retry",
        "tidegate dead retry 1 --all",
        "tidegate dead skip 1",
        "tidegate dead retry 1 --at 2026-01-01T00:00:00Z --after 5m",
        "tidegate dead edit 1 {}",
        "tidegate dead done 1",
        "tidegate dead done 1 --reason x --emit a.b",
        "tidegate subscriptions pause",
        "tidegate pause --key a",
        "tidegate drain pay --key a",
        "tidegate dead retry pay-1 --rate 10/s",
        "tidegate dead retry pay-1 --detach",
        "tidegate jobs stop",
        "tidegate check --set x",
        "tidegate nonsense",
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.use_stderr(), "{line}");
    }
}

#[test]
fn the_shorter_forms_are_understood() {
    let dead = parse("tidegate dead retry --all --subscription pay").unwrap();
    let Some(Verb::Dead(DeadVerb::Retry { which, .. })) = dead.verb else { panic!("no retry") };
    assert!(which.all && which.ids.is_empty());
    assert_eq!(which.filter.subscription.as_deref(), Some("pay"));

    let alias = parse("tidegate dead-letters retry --all --rate 10/s --by ann").unwrap();
    let Some(Verb::Dead(DeadVerb::Retry { which, server, .. })) = alias.verb else { panic!("no retry") };
    assert_eq!((which.rate.as_deref(), server.by.as_deref()), (Some("10/s"), Some("ann")));

    let bare = parse("tidegate subscriptions --url http://bus").unwrap();
    assert!(
        matches!(bare.verb, Some(Verb::Subscriptions(args)) if args.verb.is_none() && args.server.url == "http://bus")
    );

    let pause = parse("tidegate subscriptions pause pay").unwrap();
    let Some(Verb::Subscriptions(args)) = pause.verb else { panic!("no subscriptions") };
    assert!(matches!(args.verb, Some(SubscriptionsVerb::Pause { name, .. }) if name == "pay"));
}

#[test]
fn every_exit_code_is_told_in_the_help() {
    let help = Arguments::command().render_long_help().to_string();

    for exit in [Exit::Done, Exit::No, Exit::Usage, Exit::Unreachable] {
        assert!(help.contains(&format!("\n  {}  ", exit.code())), "{exit:?}");
    }
}

#[test]
fn the_places_of_a_template_are_told_as_they_are_written() {
    // clap makes a line break of a certain word in braces.
    let mut command = Arguments::command();
    let help = command.find_subcommand_mut("publish").unwrap().render_long_help().to_string();

    assert!(help.contains("`{i}`") && help.contains("o{i}"), "{help}");
}

#[test]
fn the_help_of_an_import_says_what_it_leaves_behind() {
    let mut command = Arguments::command();
    let store = command.find_subcommand_mut("store").unwrap();
    let help = store.find_subcommand_mut("import").unwrap().render_help().to_string();

    assert!(
        help.contains("does not carry settled deliveries") && help.contains("A backup carries"),
        "{help}"
    );
}

#[test]
fn a_refusal_is_a_no_and_a_server_that_cannot_serve_is_unreachable() {
    let refused = |status| {
        Failure::Refused(Box::new(Problem { status: Some(status), ..Problem::default() })).exit().code()
    };
    for (status, code) in
        [(302, 1), (400, 1), (404, 1), (410, 1), (422, 1), (429, 3), (500, 3), (503, 3), (507, 3)]
    {
        assert_eq!(refused(status), code, "{status}");
    }

    let (url, cause) = ("http://bus".to_owned(), "timed out".to_owned());
    let others = [
        (Failure::Usage("x".to_owned()), 2),
        (Failure::No("x".to_owned()), 1),
        (Failure::Unreachable { url: url.clone(), cause: cause.clone(), offline: None }, 3),
        (Failure::Broken { url: url.clone(), cause: cause.clone() }, 3),
        (Failure::Strange { url, cause }, 3),
    ];
    for (failure, code) in others {
        assert_eq!(failure.exit().code(), code, "{failure}");
    }
}

#[test]
fn a_failure_on_this_side_becomes_problem_details_with_its_remedy() {
    let failure =
        Failure::Unreachable { url: "http://bus".to_owned(), cause: "refused".to_owned(), offline: None };

    let problem = serde_json::to_value(failure.to_problem()).unwrap();

    assert_eq!(problem["detail"], "cannot reach http://bus: refused");
    assert!(problem["remedy"].as_str().unwrap().contains("tidegate serve"));
    assert!(problem.get("status").is_none());
    let problem = failure.or_offline("tidegate store verify DIR").to_problem();
    assert!(problem.remedy.unwrap().ends_with("stopped server: `tidegate store verify DIR`"));
}

#[test]
fn a_text_from_elsewhere_cannot_steer_the_terminal() {
    assert_eq!(output::clean("plain\nnext"), "plain\nnext");
    assert_eq!(output::clean_line("a\x1b[2Jb\nc\r"), "a\\u{1b}[2Jb c\\r");
}
