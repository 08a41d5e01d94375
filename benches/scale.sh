#!/usr/bin/env bash
# What size costs a Hearth, on loopback: one core, as many edges and load programs as it takes.
#
#   benches/scale.sh links [SECONDS]           8 event loops × 16 shards: links, idle CPU, CPU of chat (20 seconds each)
#   benches/scale.sh cold-start [ACCOUNTS]     from kill -9 to the first message of a new session (1,000,000 accounts)
#   benches/scale.sh sessions N [SECONDS]      N online with 25 contacts each and the mixed day on top (600 seconds)
#
# Environment: HEARTH_BIN, the folder of the executables (target/release, built if it is not set); HEARTH_DIR, where stores and
# logs lie and stay (a temporary folder that is removed). An edge and a load program take at most 15,000 sessions
# each, for the sake of descriptors. `sessions` of 100,000 needs some 4 GiB; cold-start makes a store of 300 MB, and drops
# the system's caches for its last line if it runs as root.
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
case "${1:-}" in
  links | cold-start | sessions) what=$1 ;;
  --help | -h) usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac
for number in "${@:2}"; do [[ $number =~ ^[0-9]{1,8}$ ]] || { echo "not a number: $number" >&2 && exit 2; }; done
if [ "$what" = sessions ] && [ $# -lt 2 ]; then usage >&2 && exit 2; fi
[ -n "${HEARTH_BIN:-}" ] || cargo build --release --quiet -p hearth-core -p hearth-connmgr -p hearth-tools \
  --bin hearth-core --bin hearth-connmgr --bin hearthctl --bin load --bin seed
bin=$(cd "${HEARTH_BIN:-target/release}" && pwd) dir=${HEARTH_DIR:-$(mktemp -d)} per=15000
mkdir -p "$dir"

say() { printf '%s\n' "$*" >&2; }
core="" edges=() loads=()
finish() {
  local pid
  for pid in "${loads[@]}" "${edges[@]}" $core; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  [ -n "${HEARTH_DIR:-}" ] || rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_core() { # shards
  cat >"$dir/core.toml" <<END
data = "$dir/data"
shards = $1
clear_login = true
domains = [{ name = "localhost" }]
log = { level = "warn" }
END
  "$bin/hearth-core" --config "$dir/core.toml" >>"$dir/core.out" 2>&1 &
  core=$!
}
start_edge() { # number, event loops
  local port=$((35222 + $1))
  cat >"$dir/edge$1.toml" <<END
name = "edge$1"
event_loops = $2
core = "unix:$dir/data/link.sock"
listen = [{ address = "127.0.0.1:$port", tls = "starttls", allow_clear_login = true }]
self_signed = { folder = "$dir/tls$1" }
log = { level = "warn" }
END
  "$bin/hearth-connmgr" --config "$dir/edge$1.toml" >>"$dir/edge$1.out" 2>&1 &
  edges+=($!)
  for _ in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
    sleep 0.1
  done
  say "edge$1 does not listen on port $port; see $dir/edge$1.out" && return 1
}
load() { "$bin/load" "$@" --keys "$dir/keys"; }
seconds_of() { awk '{ print ($14 + $15) / 100 }' "/proc/$1/stat"; }
now() { date +%s.%N; }
minus() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a - b }'; }

links() {
  local seconds=${1:-20} edge before_edge before_core
  "$bin/seed" --data "$dir/data" --users 2000 >&2
  start_core 16 && start_edge 0 8
  edge=${edges[0]}
  idle() {
    before_edge=$(seconds_of "$edge") before_core=$(seconds_of "$core")
    sleep "$seconds"
    printf '%-28s %s s, core %s s in %s s\n' "$1: edge" "$(minus "$(seconds_of "$edge")" "$before_edge")" \
      "$(minus "$(seconds_of "$core")" "$before_core")" "$seconds"
  }
  sleep 2
  "$bin/hearthctl" --data "$dir/data" status | grep -E '^(shards|links) '
  idle "idle"
  load chat --target 127.0.0.1:35222 --users 2000 --rate 1000 --seconds "$seconds" --pids "edge=$edge,core=$core"
}

cold_start() {
  local accounts=${1:-1000000} from
  [ -e "$dir/data" ] || "$bin/seed" --data "$dir/data" --users "$accounts" --contacts 5 >&2
  # From the moment the core is started until two users have logged in and a message between them has come.
  first_message() {
    from=$(now)
    start_core 1
    until load chat --target 127.0.0.1:35222 --users 2 --first-user "$2" --seconds 1 --warmup 0 >"$dir/load.out" 2>&1; do sleep 0.02; done
    # The load program chats for a second.
    printf '%-44s %s s, of them 1 s of chat\n' "$1" "$(minus "$(now)" "$from")"
  }
  start_core 1 && start_edge 0 1
  load chat --target 127.0.0.1:35222 --users 1000 --rate 500 --seconds 5 >"$dir/load.out"
  local round
  for round in 1 2 3; do
    load chat --target 127.0.0.1:35222 --users 1000 --rate 500 --seconds 8 >"$dir/beside.out" 2>&1 &
    loads=($!)
    sleep 3
    kill -9 "$core"
    first_message "kill -9 under 1,000 who chat, round $round" $((accounts / 2 + 2 * round))
    wait "${loads[0]}" || say "the others did not end well; see $dir/beside.out"
  done
  kill -9 "$core"
  if sync && (echo 3 >/proc/sys/vm/drop_caches) 2>/dev/null; then first_message "kill -9, the system's caches dropped" 10; fi
  du -sh "$dir/data" | cut -f1 | sed 's/^/store: /'
}

sessions() {
  local wanted=$1 seconds=${2:-600} parts size part pids="" before_cpu logins from
  # Groups of friends, 26 each, stay within one load program.
  size=$((per / 26 * 26)) parts=$(((wanted + size - 1) / size)) logins=$(now)
  size=$(((wanted / parts + 25) / 26 * 26))
  [ -e "$dir/data" ] || "$bin/seed" --data "$dir/data" --users $((parts * size)) --contacts 25 >&2
  start_core 1
  for part in $(seq 0 $((parts - 1))); do start_edge "$part" 1; done
  say "$((parts * size)) users on $parts edges"
  for part in $(seq 0 $((parts - 1))); do
    # Each lives on until the last has logged in and all have been measured.
    load mixed --target "127.0.0.1:$((35222 + part))" --first-user $((part * size)) --users "$size" --parallel 8 --sources 100 \
      --every "${HEARTH_EVERY:-chat=60,ping=60,presence=600,login=1800}" --warmup "${HEARTH_WARMUP:-5}" --seconds "$seconds" \
      --max-seconds 7200 --json >"$dir/part$part.json" 2>"$dir/part$part.err" &
    loads+=($!)
  done
  online() { "$bin/hearthctl" --data "$dir/data" --json status | grep -o '"sessions":[0-9]*' | cut -d: -f2; }
  until [ "$(online)" -ge $((parts * size * 99 / 100)) ]; do
    sleep 1
    for pid in "${loads[@]}"; do kill -0 "$pid" 2>/dev/null || { cat "$dir"/part*.err >&2 && return 1; }; done
  done
  printf 'all online after %s s\n' "$(minus "$(now)" "$logins")"
  sleep $((${HEARTH_WARMUP:-5} + 5))
  spent() { for pid in "$@"; do seconds_of "$pid"; done | awk '{ s += $1 } END { print s }'; }
  local edge_before core_before window=$((seconds * 2 / 3))
  edge_before=$(spent "${edges[@]}") core_before=$(spent "$core") from=$(now)
  sleep "$window"
  printf 'over %s s with %s online: edges %s s, core %s s of CPU\n' "$(minus "$(now)" "$from")" "$(online)" \
    "$(minus "$(spent "${edges[@]}")" "$edge_before")" "$(minus "$(spent "$core")" "$core_before")"
  pss() { for pid in "$@"; do awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup"; done | awk '{ s += $1 } END { printf "%.0f", s / 1024 }'; }
  printf 'PSS: edges %s MiB, core %s MiB\n' "$(pss "${edges[@]}")" "$(pss "$core")"
  for pid in "${loads[@]}"; do wait "$pid" || say "a load program failed; see $dir/part*.err"; done
  # The best and the worst of the load programs.
  python3 - "$dir"/part*.json <<'END'
import json, sys
figures = {}
for name in sys.argv[1:]:
    with open(name) as file:
        report = json.loads(file.read().strip().splitlines()[-1])
    for figure in report["figures"]:
        figures.setdefault((figure["name"], figure["unit"]), []).append(figure["value"])
    print(*report["notes"], sep="\n") if report["notes"] else None
for (name, unit), values in figures.items():
    print(f"{name:<36} {min(values):.3g} to {max(values):.3g} {unit}")
END
}

case "$what" in
  links) links "${@:2}" ;;
  cold-start) cold_start "${@:2}" ;;
  sessions) sessions "${@:2}" ;;
esac
