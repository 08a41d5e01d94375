#!/usr/bin/env bash
# Runs the stories against a Hearth of its own: a temporary folder, free ports, accounts made by hearthctl, and a
# second edge on the same core whose certificate has expired; then stories of servers that die (restart.py). Prints
# TAP and, last, `N ok, N not ok`.
# Usage: tools/clients/run.sh [FOLDER OF hearth AND hearthctl [CLIENT…]]
# The folder is target/debug unless given: what `cargo test --workspace` has built already.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
bin=${1:-$root/target/debug}
if [ $# -gt 0 ]; then shift; fi
clients=${*:-slixmpp xmppjs aioxmpp nbxmpp smack profanity go_sendxmpp mcabber openssl}
tools=${HEARTH_CLIENTS_DIR:-$root/target/clients} # clients of others, installed once
if [ ! -x "$bin/hearth" ] || [ ! -x "$bin/hearthctl" ]; then
  (cd "$root" && cargo build --package hearth-tools --bins)
fi
if [ ! -x "$bin/hearth-connmgr" ]; then (cd "$root" && cargo build --package hearth-connmgr); fi
./install.sh "$tools"
PATH="$tools/python/bin:$PATH"
if [ smack/Story.java -nt "$tools/smack/Story.class" ]; then
  javac -d "$tools/smack" -cp "$tools/smack/*" smack/Story.java
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

await() { # file, text, pid
  for _ in $(seq 300); do
    if grep -q "$2" "$1" || ! kill -0 "$3" 2>/dev/null; then break; fi
    sleep 0.1
  done
}
"$bin/hearth" --data "$home/data" --listen 127.0.0.1 --c2s-port 0 --c2s-tls-port 0 >"$home/said" 2>"$home/log" &
hearth=$!
running+=("$hearth")
await "$home/said" 'Ctrl-C' "$hearth"
port() { sed -n "s/^ *clients  *127\.0\.0\.1:\([0-9]*\)  *$1.*/\1/p" "$home/said"; }
starttls=$(port STARTTLS) direct=$(port TLS)
if [ -z "$starttls" ] || [ -z "$direct" ]; then
  cat "$home/said" "$home/log"
  echo "not ok 1 - hearth starts"
  exit 1
fi

# A certificate of January 2020, and the edge that shows it.
mkdir "$home/expired"
sed "s,@HOME@,$home,g" expired.cnf >"$home/expired/ca.cnf"
sed "s,@HOME@,$home,g" expired.toml >"$home/expired/connmgr.toml"
: >"$home/expired/index"
echo 01 >"$home/expired/serial"
(
  cd "$home/expired"
  key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config ca.cnf)
  openssl req -x509 "${key[@]}" -subj /CN=authority -extensions authority -days 2 -keyout ca.key -out ca.pem
  openssl req -new "${key[@]}" -subj /CN=localhost -keyout key.pem -out request.pem
  openssl ca -batch -notext -config ca.cnf -keyfile ca.key -cert ca.pem -in request.pem -out cert.pem \
    -startdate 20200101000000Z -enddate 20200201000000Z
) 2>"$home/expired/openssl" || cat "$home/expired/openssl"
"$bin/hearth-connmgr" --config "$home/expired/connmgr.toml" >"$home/expired/log" 2>&1 &
running+=("$!")
await "$home/expired/log" 'event="ready"' "$!"
# Ports in the order of the configuration: STARTTLS, direct.
old() { sed -n 's/.*addresses=\[127\.0\.0\.1:\([0-9]*\), 127\.0\.0\.1:\([0-9]*\)\].*/\'"$1/p" "$home/expired/log"; }
cat "$home/data/tls/self-signed.pem" "$home/expired/ca.pem" >"$home/trusted.pem"

# story <client> <starttls|direct> <command…>: two accounts of its own, so that rosters are empty.
story() {
  local ada="$1-$2-ada@localhost" grace="$1-$2-grace@localhost" transport=$2 port=$starttls expired
  expired=$(old 1)
  if [ "$transport" = direct ]; then port=$direct expired=$(old 2); fi
  shift 2
  for account in "$ada" "$grace"; do
    printf secret | "$bin/hearthctl" --data "$home/data" user add "$account" --password-stdin >/dev/null
  done
  "$@" localhost "$port" "$transport" "$home/trusted.pem" "$expired" "$ada" secret "$grace" secret
}
tell() { # client, transport
  case "$1" in
    slixmpp | aioxmpp | nbxmpp | profanity | go_sendxmpp | mcabber | openssl) story "$1" "$2" python -B "story_$1.py" ;;
    xmppjs) story "$1" "$2" node story_xmppjs.mjs ;;
    smack) story "$1" "$2" java -XX:TieredStopAtLevel=1 -cp "$tools/smack:$tools/smack/*" Story ;;
    *) echo "not ok 1 - $1: no story is told by it" ;;
  esac
}
# Side by side: each has its own accounts. Told in order as they end.
mkdir "$home/told"
for client in $clients; do
  for transport in starttls direct; do
    while [ "$(jobs -pr | wc -l)" -ge $((${#running[@]} + ${HEARTH_CLIENTS_JOBS:-4})) ]; do sleep 0.1; done
    { tell "$client" "$transport" || echo "# it failed"; } >"$home/told/$client-$transport" 2>&1 &
  done
done
# Those that can resume a stream, by servers of their own that die under them.
for client in $clients; do
  case "$client" in slixmpp | nbxmpp) ;; *) continue ;; esac
  { python -B restart.py "$client" "$bin" "$home/restart-$client" || echo "# it failed"; } \
    >"$home/told/$client-restart" 2>&1 &
done
while [ "$(jobs -pr | wc -l)" -gt ${#running[@]} ]; do sleep 0.1; done
for client in $clients; do cat "$home/told/$client-"*; done | tee "$home/tap"
failed=0
if grep -qE '^(not ok |# it failed)' "$home/tap"; then
  failed=1
  echo "# what hearth logged:"
  sed 's/^/# /' "$home/log"
fi

# A signal must stop it cleanly: exit code 0, nothing left behind.
kill -INT "$hearth"
if wait "$hearth"; then
  echo "ok 1 - hearth stops when told to" | tee -a "$home/tap"
else
  echo "not ok 1 - hearth stops when told to (exit code $?)" | tee -a "$home/tap"
  failed=1
fi
running=("${running[@]:1}")
echo "$(grep -c '^ok ' "$home/tap" || true) ok, $(grep -c '^not ok ' "$home/tap" || true) not ok"
exit "$failed"
