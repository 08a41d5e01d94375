#!/usr/bin/env bash
# Coverage-guided fuzzing of Hearth's targets with LLVM's libFuzzer, on the stable toolchain.
set -euo pipefail
cd "$(dirname "$0")"
targets=(config differential framing jid link proxy sasl shard stream tree)

usage() {
  cat <<END
Usage: fuzz/run.sh [TARGET] [SECONDS] [LIBFUZZER OPTION…]
       fuzz/run.sh --minimise TARGET
       fuzz/run.sh --help

TARGET is one of: ${targets[*]}, or all (the default); each runs for SECONDS (60).
It begins with corpus/TARGET and what earlier runs left in found/TARGET, and adds to the latter.
An input that makes a target panic is written to artifacts/TARGET, and the exit code is not 0.

--minimise keeps in found/TARGET only what adds coverage to corpus/TARGET.

A finding is mended with its input in corpus/TARGET, under a name that says what it shows; \`cargo test
--package hearth-fuzz-targets\` replays that folder. To see one fail: fuzz/run.sh TARGET 1 FILE
END
}

minimise=
case ${1:-} in
  -h | --help) usage; exit 0 ;;
  --minimise) minimise=1; shift ;;
esac
target=${1:-all}
seconds=${2:-60}
if [ "$#" -gt 2 ]; then shift 2; else set --; fi
if [ "$target" != all ]; then
  if [[ " ${targets[*]} " != *" $target "* ]]; then
    usage >&2
    exit 2
  fi
  targets=("$target")
elif [ -n "$minimise" ]; then
  usage >&2
  exit 2
fi

# What `cargo fuzz` sets too, but no sanitizer: there is no unsafe code to find anything in, and those
# need a nightly toolchain.
host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module"
for flag in -sanitizer-coverage-{level=4,inline-8bit-counters,pc-table,trace-compares} \
  -simplifycfg-branch-fold-threshold=0; do
  flags+=" -Cllvm-args=$flag"
done
flags+=" -Ccodegen-units=1"
RUSTFLAGS="$flags" cargo build --quiet --release --bins --target "$host"
programs=${CARGO_TARGET_DIR:-target}/$host/release

failed=0
for name in "${targets[@]}"; do
  mkdir -p "found/$name" "artifacts/$name"
  dictionary=()
  if [ -e "dictionaries/$name.txt" ]; then dictionary=("-dict=dictionaries/$name.txt"); fi
  if [ -n "$minimise" ]; then
    new=$(mktemp -d "found/$name.XXXXXX")
    "$programs/$name" -merge=1 "$new" "corpus/$name" "found/$name"
    # What the committed corpus has already need not be kept twice.
    for file in "corpus/$name"/*; do rm -f "$new/$(sha1sum <"$file" | cut -d' ' -f1)"; done
    rm -r "found/$name"
    mv "$new" "found/$name"
    continue
  fi
  inputs=("found/$name" "corpus/$name")
  # A file named on the command line is run alone.
  for option in "$@"; do if [ -f "$option" ]; then inputs=(); fi; done
  echo "== $name, $seconds s"
  "$programs/$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="artifacts/$name/" "${dictionary[@]}" "$@" "${inputs[@]}" || failed=1
done
exit "$failed"
