//! Help: what stands below the options of each command, with examples to copy.

/// Below the list of commands.
pub(super) const ROOT: &str = "\
Examples:
  tidegate                                   serve with the files of ./config
  tidegate check                             are the config files good?
  tidegate publish order.placed '{\"order\":\"o1\"}' --id o1
  tidegate status o1 --wait 30               wait until its flow is at rest
  tidegate flow o1 --event                   everything that happened in it, as a tree
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

/// Of `status`.
pub(super) const STATUS: &str = "\
Examples:
  tidegate status o1
  tidegate status o1 --wait 60 --json
  tidegate status 0195… --source /billing

With --wait the exit code is 0 when the flow is done, and 1 when it failed or is not at rest in time.";

/// Of `flow`.
pub(super) const FLOW: &str = "\
Examples:
  tidegate flow b8c3b5a5f2e2bd2f1f33ae7e1d86d0be
  tidegate flow o1 --event                   the flow that the event o1 belongs to

Each event stands below the one that caused it, its deliveries first:
  ✓ done   ↷ skipped   ✗ dead   ▶ running   … waits   · ready   ‖ parked behind a dead letter";

/// Of `dead`.
pub(super) const DEAD: &str = "\
Examples:
  tidegate dead list --subscription pay
  tidegate dead retry 42 43 --reason 'bank is back'
  tidegate dead skip 44 --reason 'settled by hand'
  tidegate dead retry --all --subscription pay --dry-run

A retry makes further attempts. A skip gives the delivery up and lets the events that wait behind it go on.";

/// Of `subscriptions`.
pub(super) const SUBSCRIPTIONS: &str = "\
Examples:
  tidegate subscriptions                     all, with backlog and dead letters
  tidegate subscriptions pause pay           no new attempt starts; events wait
  tidegate subscriptions resume pay
  tidegate subscriptions keys pay            keys that wait for a person, and why
  tidegate subscriptions state check_funds a1";

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

/// Of `completions`.
pub(super) const COMPLETIONS: &str = "\
Examples:
  tidegate completions bash > ~/.local/share/bash-completion/completions/tidegate
  tidegate completions zsh > ~/.zfunc/_tidegate";
