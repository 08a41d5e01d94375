#!/usr/bin/env bash
# An edge behind HAProxy: the client's own address comes through in both versions of the PROXY protocol, from the first
# byte of TLS and by STARTTLS, and the proxy's health checks disturb nobody. Prints TAP.
# Usage: tools/proxy/run.sh [FOLDER OF hearth-core, hearth-connmgr AND hearthctl]   (target/debug)
# Needs HAProxy (haproxy, or what HEARTH_HAPROXY names) and openssl.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(cd "${1:-$root/target/debug}" && pwd)
haproxy=${HEARTH_HAPROXY:-haproxy}
command -v "$haproxy" >/dev/null || { echo "1..0 # SKIP no HAProxy: apt-get install haproxy" && exit 0; }

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

ready() { # file, pid
  for _ in $(seq 300); do
    if grep -q 'event="ready"' "$1" || ! kill -0 "$2" 2>/dev/null; then break; fi
    sleep 0.1
  done
  grep -q 'event="ready"' "$1" || { cat "$1" >&2 && exit 1; }
}
printf 'data = "%s/data"\ndomains = [{ name = "localhost" }]\n' "$home" >"$home/core.toml"
"$bin/hearth-core" --config "$home/core.toml" >"$home/core.log" 2>&1 &
running+=("$!")
ready "$home/core.log" "$!"
cat >"$home/connmgr.toml" <<END
core = "unix:$home/data/link.sock"
event_loops = 1
listen = [
  { address = "127.0.0.1:0", tls = "starttls", proxy_from = ["127.0.0.0/8"] },
  { address = "127.0.0.1:0", tls = "direct", proxy_from = ["127.0.0.0/8"] },
]
self_signed = { folder = "$home/tls", domains = ["localhost"] }
log = { level = "debug" }
END
"$bin/hearth-connmgr" --config "$home/connmgr.toml" >"$home/edge.log" 2>&1 &
running+=("$!")
ready "$home/edge.log" "$!"
mapfile -t listen < <(grep 'event="ready"' "$home/edge.log" | grep -o 'addresses=\[[^]]*' | grep -o '127\.0\.0\.1:[0-9]*')

# Free ports, as far as that can be known.
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
one=$(port) two=$(port)
cat >"$home/haproxy.cfg" <<END
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen one
  bind 127.0.0.1:$one
  server edge ${listen[0]} send-proxy check inter 200ms check-send-proxy
listen two
  bind 127.0.0.1:$two
  server edge ${listen[1]} send-proxy-v2 proxy-v2-options unique-id check inter 200ms check-send-proxy
END
"$haproxy" -db -f "$home/haproxy.cfg" >"$home/haproxy.log" 2>&1 &
running+=("$!")
sleep 1

failed=0 count=0
ok() { # what, command…
  local what=$1
  shift
  count=$((count + 1))
  if "$@" >"$home/out" 2>&1; then echo "ok $count - $what"; else
    failed=1
    echo "not ok $count - $what"
    sed 's/^/# /' "$home/out" | tail -20
  fi
}
# From an address of its own, so that it is told from the proxy's.
tls() { # port, address, options…
  local at=$1 from=$2
  shift 2
  echo | timeout 10 openssl s_client -connect "127.0.0.1:$at" -bind "$from:0" -servername localhost "$@" 2>&1
}
shakes_hands() { tls "$@" | grep -q '^SSL handshake has read'; }
named() { grep 'proxied' "$home/edge.log" | grep -q "$1"; }
ok "STARTTLS behind version 1" shakes_hands "$one" 127.0.0.21 -starttls xmpp -xmpphost localhost
ok "the client's address, version 1" named 'peer=127\.0\.0\.21:'
ok "TLS from the first byte behind version 2" shakes_hands "$two" 127.0.0.22
ok "the client's address, version 2 with additional values" named 'peer=127\.0\.0\.22:'
# shellcheck disable=SC2317 # called by ok
calm() { ! grep -q 'proxy_refused' "$home/edge.log" && ! grep -q ' is DOWN' "$home/haproxy.log"; }
ok "health checks find the edge up and are no refused headers" calm
echo "1..$count"
exit "$failed"
