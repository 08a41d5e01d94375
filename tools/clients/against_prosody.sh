#!/usr/bin/env bash
# Runs the stories against Debian's prosody (apt-get install prosody), to check the stories themselves:
# what fails here is the story's fault, what fails only against Hearth is Hearth's.
# Usage: tools/clients/against_prosody.sh   (PYTHON: a python with slixmpp; `npm ci` done in this folder)
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}
home=$(mktemp -d)
pid=
stop() {
  if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi
  rm -rf "$home"
}
trap stop EXIT

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
plain=$(free_port) tls=$(free_port)
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
  -keyout "$home/key.pem" -out "$home/cert.pem" 2>/dev/null
mkdir "$home/data"
cat >"$home/prosody.cfg.lua" <<LUA
pidfile = "$home/prosody.pid"; data_path = "$home/data"; plugin_paths = {}
interfaces = { "127.0.0.1" }; c2s_ports = { $plain }; c2s_direct_tls_ports = { $tls }
modules_enabled = { "roster", "saslauth", "tls", "disco", "offline", "ping" }; modules_disabled = { "s2s", "s2s_auth_certs" }
authentication = "internal_plain"; c2s_require_encryption = true; log = { { levels = { min = "warn" }, to = "console" } }
ssl = { key = "$home/key.pem", certificate = "$home/cert.pem" }
VirtualHost "localhost"
LUA
as=()
if [ "$(id -u)" = 0 ]; then # prosody does not like to be root
  chown -R nobody "$home"
  as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
names=(slix-starttls-ada slix-starttls-grace slix-direct-ada slix-direct-grace js-starttls-ada js-starttls-grace js-direct-ada js-direct-grace)
for name in "${names[@]}"; do
  "${as[@]}" prosodyctl --config "$home/prosody.cfg.lua" register "$name" localhost secret >/dev/null
done
"${as[@]}" prosody --config "$home/prosody.cfg.lua" -F >"$home/log" 2>&1 &
pid=$!
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$tls") 2>/dev/null && break; sleep 0.1; done

failed=0
story() { # story <transport> <port> <prefix> <command…>
  local transport=$1 port=$2 prefix=$3
  shift 3
  "$@" localhost "$port" "$transport" "$home/cert.pem" \
    "$prefix-$transport-ada@localhost" secret "$prefix-$transport-grace@localhost" secret || failed=1
}
for transport in starttls direct; do
  if [ "$transport" = starttls ]; then port=$plain; else port=$tls; fi
  story "$transport" "$port" slix "$python" story_slixmpp.py
  story "$transport" "$port" js node story_xmppjs.mjs
done
grep -E "error|warn" "$home/log" | grep -v certmanager || true
exit "$failed"
