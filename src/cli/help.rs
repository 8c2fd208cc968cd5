//! Help: what stands below the options of each command, with examples to copy.

/// Below the list of commands.
pub(super) const ROOT: &str = "\
Examples:
  tidegate                                   serve with the files of ./config
  tidegate check                             are the config files good?
  tidegate publish order.placed '{\"order\":\"o1\"}' --id o1
  tidegate status o1 --wait 30               wait until its flow is at rest
  tidegate flow o1 --event                   everything that happened in it, as a tree
  tidegate explain o1                        why does it not move?
  tidegate dead list                         what failed for good and waits for a person

Exit codes:
  0  done
  1  the answer is no: problems in the config, a failed or unfinished flow under --wait,
     something not found, an event or an act refused
  2  the command line is wrong, or a file it names cannot be read
  3  the server cannot be reached or cannot serve now; try again later";

/// Of `publish`.
pub(super) const PUBLISH: &str = "\
Examples:
  tidegate publish account.opened '{\"account\":\"a1\",\"balance\":1000}' --id a1-opened
  tidegate publish purchase.submitted @purchase.json --id o1 --wait 30
  echo '{\"fund\":\"f1\"}' | tidegate publish fund.opened -
  tidegate publish purchase.submitted @purchases.jsonl --lines --id-field order
  tidegate publish purchase.submitted --count 100000 --id-field order \\
      '{\"order\":\"o{i}\",\"account\":\"a{i%500}\",\"fund\":\"f1\",\"amount\":10}'

Publishing again with the same id and the same data is always safe: it is stored once. So a run
with --id-field can be repeated after an interruption. Many events are published side by side;
--concurrency 1 keeps the order of the lines.";

/// Of `test`.
pub(super) const TEST: &str = "\
Examples:
  tidegate test
  tidegate test a_purchase_is_completed
  tidegate test --config staging --json

A test is a table [test.<name>] in config/tests.toml: `send` lists events and pauses, `expect`
says what has to be so afterwards. Every test runs on an empty bus in memory, by a clock of its
own: a pause of days takes no time. What is not as expected is told with the flows as they stand.";

/// Of `status`.
pub(super) const STATUS: &str = "\
Examples:
  tidegate status o1
  tidegate status o1 --wait 60 --json
  tidegate status 0195… --source /billing

With --wait the exit code is 0 when the flow is done, and 1 when it failed or is not at rest in
time.";

/// Of `explain`.
pub(super) const EXPLAIN: &str = "\
Examples:
  tidegate explain o1                        an event from outside, and what it led to
  tidegate explain cb28383d3c5193246573c007096f20eb --source /tidegate/check_fund_status

What a step has emitted has the source /tidegate/ and the name of its subscription; `tidegate flow`
shows both. The exit code is 0 also when nothing moves.";

/// Of `flow`.
pub(super) const FLOW: &str = "\
Examples:
  tidegate flow b8c3b5a5f2e2bd2f1f33ae7e1d86d0be
  tidegate flow o1 --event                   the flow that the event o1 belongs to

Each event stands below the one that caused it, its deliveries first:
  ✓ done   ↷ skipped   ✗ dead   ▶ running   … waits   · ready   ‖ parked behind a dead letter";

/// Of `flows`.
pub(super) const FLOWS: &str = "\
Examples:
  tidegate flows --status failed
  tidegate flows --key a17 --since 2h        flows with an event of this key that began since then
  tidegate flows --status dead --name purchase.submitted --json

The flow that began last comes first. `tidegate flow ID` shows one of them whole.";

/// Of `events`.
pub(super) const EVENTS: &str = "\
Examples:
  tidegate events --key a17
  tidegate events --name payment.completed --since 2026-03-31T14:00:00Z --until 10m
  tidegate events --flow b8c3b5a5f2e2bd2f1f33ae7e1d86d0be --limit 500

The newest event comes first.";

/// Of `cancel` and `reschedule`.
pub(super) const CANCEL: &str = "\
Examples:
  tidegate publish reminder.due '{\"order\":\"o1\"}' --id r1 --after 7d
  tidegate reschedule r1 --after 1h --reason 'the customer called'
  tidegate reschedule r1 --at 2026-04-01T09:00:00+02:00
  tidegate cancel r1 --reason 'paid meanwhile'

Both are for a delayed event that somebody hears; one that was released is on its way (exit code 1).";

/// Of `cancel-flow`.
pub(super) const CANCEL_FLOW: &str = "\
Examples:
  tidegate cancel-flow b8c3b5a5f2e2bd2f1f33ae7e1d86d0be --reason 'ordered twice'

Nothing of the flow runs any more but what undoes it; its dead letters are skipped. An attempt
that runs now may end, and is undone as well. A flow past its point of no return is refused.";

/// Of `dead`.
pub(super) const DEAD: &str = "\
Examples:
  tidegate dead list --subscription pay
  tidegate dead retry pay-42 pay-43 --reason 'bank is back'
  tidegate dead skip pay-44 --reason 'settled by hand'
  tidegate dead retry --all --subscription pay --dry-run
  tidegate dead retry --all --subscription pay --rate 100/s --reason 'bank is back'
  tidegate dead groups                                    what has failed alike
  tidegate dead list --group 33e18180604db475
  tidegate dead show pay-42                               its data, its history, what it holds up
  tidegate dead retry pay-42 --after 30m
  tidegate dead edit pay-42 @corrected.json --reason 'wrong account'
  tidegate dead done pay-42 --reason 'paid by phone' \\
      --emit payment.completed '{\"order\":\"o1\"}'

With --all the server does it, as a job: it takes what is dead now, goes on after a restart, and is
followed here to its end (an interruption ends the following, not the job: see `tidegate jobs`).

A retry makes further attempts. A skip gives the delivery up. An edit puts a new event in its
place. What was done by hand goes on with the events that the step would have emitted. What waits
behind goes on in its order.";

/// Of `jobs`.
pub(super) const JOBS: &str = "\
Examples:
  tidegate jobs                              all, the newest first
  tidegate jobs show 0195… --items           what came of each of its dead letters
  tidegate jobs stop 0195…
  tidegate jobs resume 0195…
  tidegate jobs follow 0195…                 wait for its end";

/// Of `audit`.
pub(super) const AUDIT: &str = "\
Examples:
  tidegate audit
  tidegate audit --who ann --since 2026-03-31T08:00:00Z
  tidegate audit --name tidegate.delivery.dead --json
  tidegate audit --about pay-42

Facts last as long as the status of any other event (http.status_ttl).";

/// Of `subscriptions`.
pub(super) const SUBSCRIPTIONS: &str = "\
Examples:
  tidegate subscriptions                     all, with backlog and dead letters
  tidegate subscriptions pause pay           no new attempt starts; events wait
  tidegate subscriptions resume pay
  tidegate subscriptions keys pay            keys that wait for a person, and why
  tidegate subscriptions state check_funds a1";

/// Of `reload`.
pub(super) const RELOAD: &str = "\
Examples:
  tidegate reload --dry-run                  what would change, and what that leaves behind
  tidegate reload

The new wiring is checked as a whole before any of it counts. What it takes out keeps its backlog,
and picks up when it is back. A plan that is refused changes nothing (exit code 1).";

/// Of `replay` and `replays`.
pub(super) const REPLAY: &str = "\
Examples:
  tidegate replay pay --since 2026-03-01T08:00:00Z --dry-run
  tidegate replay pay --since 2026-03-01T08:00:00Z --key a1 --reason 'wrong rate'
  tidegate replay audit --from start         all that is kept, for a new subscription too
  tidegate replays                           how far they have come
  tidegate replays --stop pay-1

Deliveries at rest are opened again; what is open or dead is left alone. What the step emits are
new events, what it calls outside bears the same effect keys, and its states are not reset.";

/// Of `unrouted`.
pub(super) const UNROUTED: &str = "\
Examples:
  tidegate unrouted                          events whose names nobody listens to, the newest first
  tidegate unrouted --filtered audit         events that the `where` of audit has kept out";

/// Of `pause`, `resume` and `drain`.
pub(super) const STEER: &str = "\
Examples:
  tidegate pause                             the whole bus; events are taken all the same
  tidegate pause pay --reason 'the bank is moving'
  tidegate pause check_funds --key a1        all of this key waits, in order
  tidegate resume check_funds --key a1
  tidegate drain pay --wait 30               pause, and wait until nothing of it runs

What runs, runs to its end. What is paused stays so over a restart.";

/// Of `graph`.
pub(super) const GRAPH: &str = "\
Examples:
  tidegate graph > topology.mmd
  tidegate graph --format dot | dot -Tsvg > topology.svg

Events that nobody hears or nobody emits are told on standard error.";

/// Of `store`.
pub(super) const STORE: &str = "\
Examples:
  tidegate store verify data                 of a stopped server; nothing in it is changed
  tidegate store verify                      a running server looks at its own, and works on
  tidegate store verify data --json
  tidegate store compact data                after much has expired
  tidegate store export data | jq 'select(.kind == \"event\") | .id'
  tidegate store export data all.jsonl
  tidegate store import all.jsonl --to other

Exit codes of verify: 0 clean, 1 damage, 2 it could not look (no such folder, a server runs on it,
a newer format, no room for the copy of sled: see --scratch), 3 the server cannot be reached.";

/// Of `store import`, and said after each.
pub(super) const IMPORT: &str = "\
An import does not carry settled deliveries and their histories, results of flows, states of steps,
journaled results, jobs, replays and pauses, nor events whose data is past retention. What was open
or dead is tried from the first attempt on; what was done is not known to be done. A backup carries
all of it.";

/// Of `backup` and `restore`.
pub(super) const BACKUP: &str = "\
Examples:
  tidegate backup /backups                   of a running server, named after the time
  tidegate backup monday.backup --offline data
  tidegate restore monday.backup             is it whole? nothing is written
  tidegate restore monday.backup --to data

A backup holds whatever was acknowledged before it began. It is checked once it is written, and
again before a restore writes anything. What steps keep in files of their own is not in it.";

/// Of `completions`.
pub(super) const COMPLETIONS: &str = "\
Examples:
  tidegate completions bash > ~/.local/share/bash-completion/completions/tidegate
  tidegate completions zsh > ~/.zfunc/_tidegate";
