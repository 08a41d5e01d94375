#!/usr/bin/env bash
# Core and edge on two "machines": network namespaces of their own, joined by a veth, 40 ms and 1 % of loss apart
# (netem where the kernel has it, else a relay that delays). Two people log in through the edge and chat; the way
# is cut for longer than a link may be silent, and mended. Everything made here is removed at the end.
# Prints TAP and, last, `N ok, N not ok`. Needs root and iproute2, else it is skipped.
# Usage: tools/netns/run.sh [FOLDER OF hearth-core, hearth-connmgr AND hearthctl]
set -euo pipefail
cd "$(dirname "$0")"
bin=$(cd "${1:-../../target/debug}" && pwd)
skip() {
  echo "ok 1 - edge and core in two network namespaces # SKIP $1"
  echo "0 ok, 0 not ok"
  exit 0
}
[ "$(id -u)" -eq 0 ] || skip "needs root"
command -v ip >/dev/null || skip "no ip (Debian: iproute2)"
for program in hearth-core hearth-connmgr hearthctl; do
  [ -x "$bin/$program" ] || { echo "no $bin/$program: cargo build --workspace" && exit 1; }
done

core=hearth-core-$$ edge=hearth-edge-$$
home=$(mktemp -d)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  ip netns del "$core" 2>/dev/null || true
  ip netns del "$edge" 2>/dev/null || true
  rm -rf "$home"
}
trap stop EXIT
trap 'exit 1' TERM INT
ip netns add "$core" 2>/dev/null || skip "no network namespaces here"
ip netns add "$edge"
ip link add hc$$ netns "$core" type veth peer name he$$ netns "$edge" 2>/dev/null || skip "no veth here"
ip -n "$core" addr add 10.77.0.1/30 dev hc$$
ip -n "$edge" addr add 10.77.0.2/30 dev he$$
for pair in "$core lo" "$core hc$$" "$edge lo" "$edge he$$"; do
  # shellcheck disable=SC2086
  set -- $pair
  ip -n "$1" link set "$2" up
done

# 20 ms each way, 1 % lost.
dial=10.77.0.1:5270
if ip netns exec "$core" tc qdisc add dev hc$$ root netem delay 20ms loss 1% 2>/dev/null &&
  ip netns exec "$edge" tc qdisc add dev he$$ root netem delay 20ms loss 1% 2>/dev/null; then
  echo "# 40 ms and 1 % of loss by netem"
else
  echo "# this kernel has no netem: 40 ms and stalls of lost packets by a relay in the edge's namespace"
  ip netns exec "$edge" python3 delay.py 127.0.0.1:5271 10.77.0.1:5270 20 1 &
  pids+=($!)
  dial=127.0.0.1:5271
fi

cat >"$home/core.toml" <<END
data = "$home/data"
link_unix = ""
link_tls = "10.77.0.1:5270"
[[domains]]
name = "example.org"
END
ip netns exec "$core" "$bin/hearth-core" --config "$home/core.toml" 2>"$home/core.log" &
pids+=($!)
ctl() { "$bin/hearthctl" --data "$home/data" "$@"; }
for _ in $(seq 100); do ctl status >/dev/null 2>&1 && break || sleep 0.1; done
for user in ada grace; do printf secret | ctl user add "$user@example.org" --password-stdin >/dev/null; done
ctl edge add far --core "$dial" --out "$home/far.edge" >/dev/null

cat >"$home/connmgr.toml" <<END
link_key = "$home/far.edge"
[[listen]]
address = "127.0.0.1:5222"
tls = "starttls"
[self_signed]
folder = "$home/tls"
domains = ["example.org"]
END
ip netns exec "$edge" "$bin/hearth-connmgr" --config "$home/connmgr.toml" 2>"$home/edge.log" &
pids+=($!)
for _ in $(seq 100); do grep -q link_up "$home/edge.log" && break || sleep 0.1; done

failed=0
ip netns exec "$edge" python3 story.py 127.0.0.1:5222 example.org \
  "ip -n $core link set hc$$ down" "ip -n $core link set hc$$ up" >"$home/tap" || failed=1
cat "$home/tap"
# Both ends have noticed by silence, not by a closed connection.
number=$(grep -cE '^(not )?ok ' "$home/tap")
for end in core edge; do
  number=$((number + 1))
  if grep -q 'link_lost.*silent' "$home/$end.log"; then
    echo "ok $number - the $end knows the dead link by its silence" | tee -a "$home/tap"
  else
    echo "not ok $number - the $end knows the dead link by its silence" | tee -a "$home/tap"
    failed=1
  fi
done
if [ "$failed" -ne 0 ]; then
  for end in core edge; do
    echo "# $end:"
    sed 's/^/# /' "$home/$end.log"
  done
fi
echo "$(grep -c '^ok ' "$home/tap" || true) ok, $(grep -c '^not ok ' "$home/tap" || true) not ok"
exit "$failed"
