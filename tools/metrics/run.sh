#!/usr/bin/env bash
# The figures of both daemons, read by the reference parser of OpenMetrics (Python's prometheus_client), before and
# after some chat. Prints TAP and, last, `N ok, N not ok`.
# Usage: tools/metrics/run.sh [FOLDER OF hearth-core, hearth-connmgr, hearthctl, load AND seed]   (target/debug)
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
bin=$(cd "${1:-$root/target/debug}" && pwd)
python=${HEARTH_METRICS_DIR:-$root/target/openmetrics} # the parser, installed once
retry() { "$@" || { sleep 5; "$@"; } || { sleep 15; "$@"; }; }
if ! cmp -s requirements.txt "$python/pinned"; then
  rm -rf "$python"
  python3 -m venv "$python"
  retry "$python/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
  cp requirements.txt "$python/pinned"
fi

home=$(mktemp -d)
running=()
stop() {
  local pid
  for pid in "${running[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$home"
}
trap stop EXIT

# What the log of a daemon says in its line `ready`; it says nothing if the daemon has ended.
ready() { # file, pid, pattern
  for _ in $(seq 300); do
    if grep -q 'event="ready"' "$1" || ! kill -0 "$2" 2>/dev/null; then break; fi
    sleep 0.1
  done
  grep 'event="ready"' "$1" | grep -o "$3" | grep -o '127\.0\.0\.1:[0-9]*'
}
"$bin/seed" --data "$home/data" --users 26 >"$home/seed.log" 2>&1
printf 'data = "%s/data"\nshards = 2\nclear_login = true\nmetrics = "127.0.0.1:0"\ndomains = [{ name = "localhost" }]\n' "$home" >"$home/core.toml"
"$bin/hearth-core" --config "$home/core.toml" >"$home/core.log" 2>&1 &
running+=("$!")
core=$(ready "$home/core.log" "$!" 'metrics=[0-9.:]*') || { cat "$home/core.log" && exit 1; }
cat >"$home/connmgr.toml" <<END
core = "unix:$home/data/link.sock"
listen = [{ address = "127.0.0.1:0", tls = "starttls", allow_clear_login = true }]
self_signed = { folder = "$home/tls", domains = ["localhost"] }
metrics = "127.0.0.1:0"
END
"$bin/hearth-connmgr" --config "$home/connmgr.toml" >"$home/edge.log" 2>&1 &
running+=("$!")
edge=$(ready "$home/edge.log" "$!" 'metrics=[0-9.:]*') || { cat "$home/edge.log" && exit 1; }
clients=$(ready "$home/edge.log" "$!" 'addresses=\[[0-9.:]*')
"$python/bin/python" pages.py "$core" "$edge" -- \
  "$bin/load" chat --target "$clients" --users 26 --rate 100 --warmup 0 --seconds 2 --keys "$home/keys"
