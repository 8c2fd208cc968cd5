#!/usr/bin/env bash
# Cuts the power, kills the process at every fail point, lets bits rot, fills the disk and lets it fail, with an
# oracle beside that knows what was acknowledged. docs/reliability.md says what each test shows. Everything speaks
# to loopback only; data lies in the system's temporary folder and is removed. Exit code 0: nothing was broken.
#
#   scripts/soak.sh                  full sizes: the better part of an hour on two cores
#   scripts/soak.sh --ci             the sizes of every change: two to three minutes
#   scripts/soak.sh --only power     some: power, fail, rot, full, io
#   scripts/soak.sh --seed 7         the same chances again
#   scripts/soak.sh --count 50       so many of each in place of the size
#
# Power cuts, full disks and failing ones need root (they mount), gcc and mkfs.ext4; without them they are left out,
# and the report says so.
set -euo pipefail
cd "$(dirname "$0")/.."

arguments=(--full)
for argument in "$@"; do
    if [ "$argument" = --ci ]; then arguments=(); else arguments+=("$argument"); fi
done

# A debug build: a release with fail points does not compile. To standard error, so that standard output holds the
# results alone.
cargo build --locked --package tidegate-soak --features failpoints >&2

echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(date -u +%Y-%m-%d), $(uname -sr), $(nproc) cores"
echo "command: scripts/soak.sh $*"
exec "${CARGO_TARGET_DIR:-target}/debug/tidegate-soak" run ${arguments[@]+"${arguments[@]}"}
