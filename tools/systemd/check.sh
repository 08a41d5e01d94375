#!/usr/bin/env bash
# Checks the units of packaging/systemd with systemd's own tools, without a running systemd: no mistake, and an
# exposure (systemd-analyze security, 0 to 10) of at most 2.0. Prints TAP and, last, `N ok, N not ok`.
# Usage: tools/systemd/check.sh [FOLDER OF hearth, hearth-core AND hearth-connmgr]
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$(cd "${1:-target/debug}" && pwd)
if ! command -v systemd-analyze >/dev/null; then
  echo "ok 1 - units are right # SKIP no systemd-analyze (Debian: systemd)"
  echo "0 ok, 0 not ok"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
number=0 failed=0
say() { # say <exit code> <what>
  number=$((number + 1))
  if [ "$1" -eq 0 ]; then echo "ok $number - $2"; else
    echo "not ok $number - $2"
    failed=$((failed + 1))
    sed 's/^/# /' "$folder/said"
  fi
}
for unit in packaging/systemd/*.service; do
  name=$(basename "$unit")
  # verify wants the programs to be where the unit says.
  sed "s|/usr/bin/hearth|$bin/hearth|" "$unit" >"$folder/$name"
  code=0
  systemd-analyze verify --man=no "$folder/$name" >"$folder/said" 2>&1 || code=$?
  # Of other units of this machine, nothing here is to say.
  if grep -q "$name" "$folder/said"; then code=1; fi
  say "$code" "$name has no mistake"
  code=0
  systemd-analyze security --offline=true --threshold=20 --no-pager "$folder/$name" >"$folder/said" 2>&1 || code=$?
  exposure=$(sed -n 's/.*exposure level for .*: \([0-9.]*\).*/\1/p' "$folder/said")
  say "$code" "$name: exposure ${exposure:-unknown}, at most 2.0"
done
echo "$((number - failed)) ok, $failed not ok"
[ "$failed" -eq 0 ]
