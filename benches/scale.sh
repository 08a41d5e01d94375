#!/usr/bin/env bash
# What size costs a Hearth, on loopback: one core, as many edges and load programs as it takes.
#
#   benches/scale.sh links [SECONDS]           8 event loops × 16 shards: links, idle CPU, CPU of chat (20 seconds each)
#   benches/scale.sh cold-start [ACCOUNTS]     from kill -9 to the first message of a new session (1,000,000 accounts)
#   benches/scale.sh sessions N [SECONDS]      N online with 25 contacts each and the mixed day on top (600 seconds)
#   benches/scale.sh storm [SECONDS]           14,028 come back at one moment: what 1,040 who chat feel of it, seen from a process of
#                                              their own over so many seconds that hold the storm (22)
#   benches/scale.sh growth [RATE [N…]]        what a message and a session cost with N online with 25 contacts each, RATE messages a
#                                              second among them in all (500; 1,000, 10,000 and 100,000), by as many edges each time
#
# Environment: HEARTH_BIN, the folder of the executables (target/release, built if it is not set); HEARTH_DIR, where stores and
# logs lie and stay (a temporary folder that is removed). An edge and a load program take at most 15,000 sessions
# each, for the sake of descriptors. `sessions` and `growth` of 100,000 need some 4 GiB, and `growth` some ten minutes
# (HEARTH_SECONDS: those it measures of each size, 60); cold-start makes a store of 300 MB, and drops the system's caches for
# its last line if it runs as root.
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
case "${1:-}" in
  links | cold-start | sessions | storm | growth) what=$1 ;;
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
  loads=() edges=() core=""
}
leave() {
  finish
  [ -n "${HEARTH_DIR:-}" ] || rm -rf "$dir"
}
trap leave EXIT
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
limits = { rate = { bytes_per_s = 0, stanzas_per_s = 0 } }
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

# Groups of friends, 26 each, stay within one load program: sets `parts` and `size`, users on each of so many edges.
share() { # sessions, of the edges for so many
  local most=$((per / 26 * 26))
  parts=$((($2 + most - 1) / most))
  size=$((($1 / parts + 25) / 26 * 26))
}
start_servers() {
  local part
  start_core 1
  for part in $(seq 0 $((parts - 1))); do start_edge "$part" 1; done
  say "$((parts * size)) users on $parts edges"
}
status() { "$bin/hearthctl" --data "$dir/data" --json status | grep -o "\"$1\":[0-9]*" | cut -d: -f2; }
# A load program for each edge, of users who do what `every` says for so many seconds; returns when all are online.
all_online() { # every, seconds
  local part pid
  for part in $(seq 0 $((parts - 1))); do
    # Each lives on until the last has logged in and all have been measured.
    load mixed --target "127.0.0.1:$((35222 + part))" --first-user $((part * size)) --users "$size" --parallel 8 --sources 100 \
      --every "$1" --warmup "${HEARTH_WARMUP:-5}" --seconds "$2" --max-seconds 7200 --json \
      >"$dir/part$part.json" 2>"$dir/part$part.err" &
    loads+=($!)
  done
  until [ "$(status sessions)" -ge $((parts * size * 99 / 100)) ]; do
    sleep 1
    for pid in "${loads[@]}"; do kill -0 "$pid" 2>/dev/null || { cat "$dir"/part*.err >&2 && return 1; }; done
  done
}
spent() { for pid in "$@"; do seconds_of "$pid"; done | awk '{ s += $1 } END { print s }'; }
pss_kib() { for pid in "$@"; do awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup"; done | awk '{ s += $1 } END { printf "%.0f", s }'; }
mib() { echo $(($(pss_kib "$@") / 1024)); }

sessions() {
  local seconds=${2:-600} logins from pid parts size
  share "$1" "$1"
  logins=$(now)
  [ -e "$dir/data" ] || "$bin/seed" --data "$dir/data" --users $((parts * size)) --contacts 25 >&2
  start_servers
  all_online "${HEARTH_EVERY:-chat=60,ping=60,presence=600,login=1800}" "$seconds"
  printf 'all online after %s s\n' "$(minus "$(now)" "$logins")"
  sleep $((${HEARTH_WARMUP:-5} + 5))
  local edge_before core_before window=$((seconds * 2 / 3))
  edge_before=$(spent "${edges[@]}") core_before=$(spent "$core") from=$(now)
  sleep "$window"
  printf 'over %s s with %s online: edges %s s, core %s s of CPU\n' "$(minus "$(now)" "$from")" "$(status sessions)" \
    "$(minus "$(spent "${edges[@]}")" "$edge_before")" "$(minus "$(spent "$core")" "$core_before")"
  printf 'PSS: edges %s MiB, core %s MiB\n' "$(mib "${edges[@]}")" "$(mib "$core")"
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

# p50 and p99 of chat: of the best load program to the worst.
latency() {
  python3 - "$dir"/part*.json <<'END'
import json, sys
reports = [json.loads(open(name).read().strip().splitlines()[-1])["figures"] for name in sys.argv[1:]]
for p in ("p50", "p99"):
    values = [figure["value"] for figures in reports for figure in figures if figure["name"] == f"message {p}"]
    print(f"{min(values):.3g} to {max(values):.3g}" if values else "-", end=", " if p == "p50" else "\n")
END
}

# One size after the other on one store and as many edges each time, so that only the size differs: fewer edges would find more
# messages at each wake-up. Memory is what the same servers have above what they had before the
# first login, and what each session more than the size before has.
growth() {
  local rate=${1:-500} seconds=${HEARTH_SECONDS:-60} sizes=("${@:2}") wanted most=0 parts size online pid n=0 kib=0
  if [ ${#sizes[@]} -eq 0 ]; then sizes=(1000 10000 100000); fi
  for wanted in "${sizes[@]}"; do most=$((wanted > most ? wanted : most)); done
  share "$most" "$most"
  [ -e "$dir/data" ] || "$bin/seed" --data "$dir/data" --users $((parts * size)) --contacts 25 >&2
  printf '%33s%-30s%-27s%s\n' "" "CPU-s per 100,000 messages" "PSS, bytes per session" "PSS, bytes per"
  printf '%8s %8s %8s %5s  %8s %8s %8s   %8s %8s %8s  %13s  %s\n' \
    sessions messages "a second" edges edges core all edges core all "session more" "chat p50, p99 ms (best to worst load program)"
  for wanted in "${sizes[@]}"; do
    share "$wanted" "$most"
    online=$((parts * size))
    start_servers
    until [ "$(status links)" = "$parts" ]; do sleep 0.5; done
    local edge_kib core_kib edge_cpu core_cpu messages from took
    edge_kib=$(pss_kib "${edges[@]}") core_kib=$(pss_kib "$core")
    all_online "chat=$(awk -v n="$online" -v rate="$rate" 'BEGIN { print n / rate }'),ping=0,presence=0,login=0" $((seconds + 60))
    sleep $((${HEARTH_WARMUP:-5} + 5))
    messages=$(status messages_logged) edge_cpu=$(spent "${edges[@]}") core_cpu=$(spent "$core") from=$(now)
    sleep "$seconds"
    messages=$(($(status messages_logged) - messages))
    edge_cpu=$(minus "$(spent "${edges[@]}")" "$edge_cpu") core_cpu=$(minus "$(spent "$core")" "$core_cpu")
    took=$(minus "$(now)" "$from") online=$(status sessions)
    edge_kib=$(($(pss_kib "${edges[@]}") - edge_kib)) core_kib=$(($(pss_kib "$core") - core_kib))
    for pid in "${loads[@]}"; do wait "$pid" || say "a load program failed; see $dir/part*.err"; done
    awk -v n="$online" -v m="$messages" -v s="$took" -v parts="$parts" -v ec="$edge_cpu" -v cc="$core_cpu" -v em="$edge_kib" \
      -v cm="$core_kib" -v n0="$n" -v kib="$kib" -v chat="$(latency)" 'BEGIN {
        printf "%8d %8d %8.0f %5d  %8.2f %8.2f %8.2f   %8.0f %8.0f %8.0f  %13s  %s\n", n, m, m / s, parts, ec / m * 1e5, cc / m * 1e5,
          (ec + cc) / m * 1e5, em * 1024 / n, cm * 1024 / n, (em + cm) * 1024 / n,
          n0 && n != n0 ? int((em + cm - kib) * 1024 / (n - n0)) : "", chat }'
    n=$online kib=$((edge_kib + core_kib))
    finish
    rm -f "$dir"/part*.json
  done
}

storm() {
  local seconds=${1:-22} groups=$((15028 / 26))
  [ -e "$dir/data" ] || "$bin/seed" --data "$dir/data" --users $(((groups + 40) * 26)) --contacts 25 >&2
  sync # or the disk is still busy with the seed
  start_core 1 && start_edge 0 1
  load chat --target 127.0.0.1:35222 --first-user $((groups * 26)) --users 1040 --rate 500 --seconds "$seconds" --warmup 1 \
    >"$dir/chat.out" 2>&1 &
  loads=($!)
  load reconnect-storm --target 127.0.0.1:35222 --users $((groups * 26)) --rate 500 --seconds 5 --pids "edge=${edges[0]},core=$core"
  wait "${loads[0]}"
  cat "$dir/chat.out"
}

case "$what" in
  links) links "${@:2}" ;;
  cold-start) cold_start "${@:2}" ;;
  sessions) sessions "${@:2}" ;;
  storm) storm "${@:2}" ;;
  growth) growth "${@:2}" ;;
esac
