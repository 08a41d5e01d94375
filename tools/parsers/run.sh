#!/usr/bin/env bash
# What clients sent and what Hearth renders of it, hostile stanzas all, read by the parsers that clients have: libexpat (by
# Python) and saxes (JavaScript). Each must see the tree that we mean. The stanzas are those of the tests of differential fuzzing:
# the corpora, and some thousand by chance. Prints TAP and, last, `N ok, N not ok`.
# Usage: tools/parsers/run.sh [FILE]   (a file of stanzas that is there already; else `cargo test` makes one)
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
given=${1:+$(realpath "$1")}
modules=${HEARTH_PARSERS_DIR:-$root/target/parsers} # the JavaScript parser, installed once
retry() { "$@" || { sleep 5; "$@"; } || { sleep 15; "$@"; }; }

number=0 failed=0
tap() { # ok or not ok, what
  number=$((number + 1))
  if [ "$1" != ok ]; then failed=$((failed + 1)); fi
  echo "$1 $number - $2"
}
leave() {
  echo "1..$number"
  echo "$((number - failed)) ok, $failed not ok"
  [ "$failed" -eq 0 ] && exit 0 || exit 1
}

stanzas=${given:-$home/stanzas}
if [ -z "$given" ] && ! HEARTH_STANZAS="$stanzas" cargo test --quiet --manifest-path "$root/Cargo.toml" \
  --package hearth-fuzz-targets --test differential >"$home/test" 2>&1; then
  sed 's/^/# /' "$home/test"
  tap "not ok" "four parsers in Rust read the same"
fi
[ -s "$stanzas" ] || { tap "not ok" "there are stanzas"; leave; }

by_expat() { python3 check.py; }
by_saxes() { node check.mjs "$modules"; }
# Whether a parser reads all as we do; and whether it would tell if it did not: of one line that is made wrong.
parser() { # name, command
  local code=0 word what from count rest
  "$2" <"$stanzas" >"$home/found" || code=$?
  while read -r word what from count rest; do
    if [ "$word" = same ]; then
      tap ok "$1 reads $count stanzas as we do: $what, $from"
    else
      echo "# $rest" | cut -c -2000
      tap "not ok" "$1 reads stanzas otherwise than we do: $what, $from"
    fi
  done <"$home/found"
  if [ ! -s "$home/found" ]; then tap "not ok" "$1 ran"; fi
  sed -n '1s/"tree":\["[^"]*",/"tree":["another",/p' "$stanzas" >"$home/wrong"
  if "$2" <"$home/wrong" >"$home/found"; then
    tap "not ok" "$1 notices a tree that is another"
  else
    tap ok "$1 notices a tree that is another"
  fi
}

parser "libexpat $(python3 -c 'import pyexpat; print(pyexpat.EXPAT_VERSION.removeprefix("expat_"))')" by_expat
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  number=$((number + 1))
  echo "ok $number - saxes # SKIP no Node.js here"
  leave
fi
if ! cmp -s package-lock.json "$modules/pinned"; then
  rm -rf "$modules"
  mkdir -p "$modules"
  cp package.json package-lock.json "$modules/"
  (cd "$modules" && retry npm ci --silent --no-audit --no-fund)
  cp package-lock.json "$modules/pinned"
fi
parser "saxes $(node -p 'require(process.argv[1]).version' "$modules/node_modules/saxes/package.json")" by_saxes
leave
