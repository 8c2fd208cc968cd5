#!/usr/bin/env bash
# Cuts the power, kills the process at every fail point, lets bits rot, fills the disk and lets it fail, with an
# oracle beside that knows what was acknowledged; then the random tests of the suite in their full sizes.
# docs/reliability.md says what each test shows. Everything speaks to loopback only; data lies in the system's
# temporary folder and is removed. Exit code 0: nothing was broken.
#
#   scripts/soak.sh                  full sizes: three to four hours on two cores
#   scripts/soak.sh --ci             the sizes of every change: five minutes; the random tests are in `cargo test`
#   scripts/soak.sh --only power     some: power, fail, rot, full, io; kill, verify, model, history, core
#   scripts/soak.sh --seed 7         the same chances again (faults only: the random tests go through seeds, or print theirs)
#   scripts/soak.sh --count 50       so many of each in place of the size
#
# Power cuts, full disks and failing ones need root (they mount), gcc and mkfs.ext4; without them these are left out,
# and the report says so.
set -euo pipefail
cd "$(dirname "$0")/.."

# A build with debug assertions: a release with fail points does not compile. That of every change is at hand already,
# the one of the full sizes is optimised, or 2,000 damages would take hours.
size=(--full) profile=soak folder=soak
command="scripts/soak.sh $*"
harness=() only=() suites=(kill verify model history core) count=""
while [ $# -gt 0 ]; do
    case "$1" in
    --ci) size=() profile=dev folder=debug suites=() ;;
    --only) only+=("${2//,/ }") && shift ;;
    --count) count=$2 && harness+=(--count "$2") && shift ;;
    *) harness+=("$1") ;;
    esac
    shift
done
if [ ${#only[@]} -gt 0 ]; then
    faults=() suites=()
    for name in ${only[*]}; do
        case "$name" in
        kill | verify | model | history | core) suites+=("$name") ;;
        *) faults+=("$name") ;;
        esac
    done
    harness+=(${faults[@]+--only "$(IFS=, && echo "${faults[*]}")"})
fi

# One random test in its full size, as a row of the report; its output stays in target/.
#   suite NAME ROW WHAT VARIABLE SIZE CARGO-ARGUMENTS...
suite() {
    local name=$1 row=$2 what=$3 variable=$4 many=${count:-$5} log=target/soak-$1.log begin=$SECONDS result=ok
    shift 5
    env "$variable=$many" cargo test --locked --profile soak "$@" --nocapture >"$log" 2>&1 || result="**broken**, see $log"
    echo "| $row | $what | $many | $result | $(grep -ohE '[A-Z_]*SEED=[0-9]+' "$log" | head -1) | $((SECONDS - begin)) s |"
    # What the test itself says it has met.
    grep -hE '^[0-9]+ (kills|crashes), ' "$log" || true
    [ "$result" = ok ]
}

run_suite() {
    local killed=(-p tidegate-actors --test nothing_acknowledged_is_lost_over_kill_9 --)
    case "$1" in
    kill) suite kill R1 "kill -9 under load, rounds" TIDEGATE_TEST_ROUNDS 1000 "${killed[@]}" everything_acknowledged ;;
    verify) suite verify R17 "killed every 2 s, seconds" TIDEGATE_VERIFY_SECONDS 600 "${killed[@]}" every_ledger ;;
    model) suite model R14 "both engines in step, histories of 60 steps" TIDEGATE_MODEL_CASES 1700 \
        -p tidegate --lib -- both_engines_tell_the_same ;;
    history) suite history R15 "the runtime over a simulated disk, seeds" TIDEGATE_SIM_SEEDS 10000 \
        -p tidegate --test no_history_breaks_a_promise -- ;;
    core) suite core R15 "the delivery core, seeds" TIDEGATE_SEEDS 10000 -p tidegate --lib -- no_history_breaks ;;
    esac
}

echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(date -u +%Y-%m-%d), $(uname -sr), $(nproc) cores"
echo "command: $command"
broken=0
if [ ${#only[@]} -eq 0 ] || [ ${#faults[@]} -gt 0 ]; then
    # To standard error, so that standard output holds the results alone.
    cargo build --locked --profile "$profile" --package tidegate-soak --features failpoints >&2
    "${CARGO_TARGET_DIR:-target}/$folder/tidegate-soak" run ${size[@]+"${size[@]}"} ${harness[@]+"${harness[@]}"} || broken=1
fi
for name in ${suites[@]+"${suites[@]}"}; do
    run_suite "$name" || broken=1
done
exit "$broken"
