#!/usr/bin/env bash
# `hearthctl dns` against a real name server, dnsmasq on loopback. Prints TAP and, last, `N ok, N not ok`.
# Usage: tools/dns/run.sh [FOLDER OF hearthctl]. Without dnsmasq (Debian: dnsmasq-base) it is skipped.
set -euo pipefail
cd "$(dirname "$0")"
bin=$(cd "${1:-../../target/debug}" && pwd)
if ! command -v dnsmasq >/dev/null; then
  echo "ok 1 - hearthctl dns against dnsmasq # SKIP no dnsmasq (Debian: dnsmasq-base)"
  echo "0 ok, 0 not ok"
  exit 0
fi
home=$(mktemp -d)
# A free port: whoever holds it a moment from now makes dnsmasq fail, and this with it.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --listen-address=127.0.0.1 --bind-interfaces --port="$port" \
  --srv-host=_xmpp-client._tcp.good.example,xmpp.good.example,5222,0,5 \
  --srv-host=_xmpps-client._tcp.good.example,xmpp.good.example,5223,0,5 \
  --host-record=xmpp.good.example,192.0.2.7,2001:db8::7 \
  --srv-host=_xmpp-client._tcp.old.example,gone.old.example,5222,10,0 \
  --host-record=old.example,192.0.2.8 \
  --srv-host=_xmpp-client._tcp.alias.example,www.alias.example,5222,0,5 \
  --srv-host=_xmpps-client._tcp.alias.example,www.alias.example,5223,0,5 \
  --cname=www.alias.example,xmpp.good.example \
  --local=/example/ 2>"$home/log" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$home"' EXIT
for _ in $(seq 50); do
  if grep -q started "$home/log"; then break; fi
  sleep 0.1
done
number=0 failed=0
# check <exit code> <text that must be there> <what> <arguments…>
check() {
  local code=0 wanted=$1 text=$2 what=$3
  shift 3
  number=$((number + 1))
  "$bin/hearthctl" dns "$@" --server "127.0.0.1:$port" >"$home/said" 2>&1 || code=$?
  if [ "$code" -eq "$wanted" ] && grep -qF -- "$text" "$home/said"; then
    echo "ok $number - $what"
  else
    failed=$((failed + 1))
    echo "not ok $number - $what (exit code $code)"
    sed 's/^/# /' "$home/said"
  fi
}
check 0 "right: 192.0.2.7, 2001:db8::7" "all there" good.example --host xmpp.good.example
check 0 "IN SRV 0 5 5222 xmpp.good.example." "the lines are a zone's" good.example --host xmpp.good.example --tls-port 0
check 5 "missing" "nothing there" empty.example
check 5 "leads elsewhere" "an old host" old.example
check 5 "IN SRV 0 5 5299 xmpp.good.example." "another port" good.example --host xmpp.good.example --port 5299
check 5 "an alias of xmpp.good.example" "an alias" alias.example --host www.alias.example
check 0 '"verdict":"right"' "for scripts" good.example --host xmpp.good.example --json
kill "$pid"
wait "$pid" 2>/dev/null || true
check 1 "does not answer" "no name server" good.example
echo "$((number - failed)) ok, $failed not ok"
[ "$failed" -eq 0 ]
