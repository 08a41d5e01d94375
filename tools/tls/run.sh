#!/usr/bin/env bash
# What sslyze, a scanner of others, finds at both doors of a Hearth: versions, ciphers, renegotiation, compression, known
# holes. Prints TAP and, last, `N ok, N not ok`.
# Usage: tools/tls/run.sh [FOLDER OF hearth]   (target/debug)
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
bin=$(cd "${1:-$root/target/debug}" && pwd)
python=${HEARTH_SSLYZE_DIR:-$root/target/sslyze} # the scanner, installed once
retry() { "$@" || { sleep 5; "$@"; } || { sleep 15; "$@"; }; }
if ! cmp -s requirements.txt "$python/pinned"; then
  rm -rf "$python"
  python3 -m venv "$python"
  retry "$python/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
  cp requirements.txt "$python/pinned"
fi

home=$(mktemp -d)
hearth=
stop() {
  if [ -n "$hearth" ]; then
    kill "$hearth" 2>/dev/null || true
    wait "$hearth" 2>/dev/null || true
  fi
  rm -rf "$home"
}
trap stop EXIT
"$bin/hearth" --listen 127.0.0.1 --c2s-port 0 --c2s-tls-port 0 --domain localhost --data "$home/data" \
  >"$home/out" 2>"$home/log" &
hearth=$!
for _ in $(seq 300); do
  if grep -q 'Ctrl-C' "$home/out" || ! kill -0 "$hearth" 2>/dev/null; then break; fi
  sleep 0.1
done
mapfile -t doors < <(awk '$1 == "clients" { print $2 }' "$home/out")
if [ "${#doors[@]}" -ne 2 ]; then
  cat "$home/log"
  exit 1
fi
"$python/bin/python" scan.py "${doors[@]}"
