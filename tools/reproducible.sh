#!/usr/bin/env bash
# Builds both daemons twice from the commit that is checked out, in two folders with nothing in common, and compares them.
# Prints their SHA-256 sums and exits with 0 if the bytes are the same. Others get the same sums from this commit with this
# toolchain and C compiler, whatever their folders are called.
# Usage: tools/reproducible.sh [PROFILE]     as of cargo: `release`, which is the default, or `dev`
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
folder_of_profile=$profile
if [ "$profile" = dev ]; then folder_of_profile=debug; fi
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH
cargo_home=$(cd "${CARGO_HOME:-$HOME/.cargo}" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build <folder>: what is committed, nothing of the working tree, with a target of its own; leaves `sums` there.
build() {
  local folder=$1 rust="" c="" map
  mkdir -p "$folder/source"
  git archive "$commit" | tar -x -C "$folder/source"
  # Folders are named in debug information and in panics.
  for map in "$folder/source=/hearth" "$folder/target=/target" "$cargo_home=/cargo"; do
    rust+=" '--remap-path-prefix=$map'"
    c+=" -ffile-prefix-map=$map"
  done
  # Not by RUSTFLAGS: cargo names folders of what it makes by them, and those names end up in the binaries.
  printf '#!/bin/sh\nexec "$@"%s\n' "$rust" >"$folder/rustc"
  chmod +x "$folder/rustc"
  (
    cd "$folder/source"
    RUSTC_WRAPPER=$folder/rustc CFLAGS=$c CXXFLAGS=$c CARGO_TARGET_DIR=$folder/target CARGO_INCREMENTAL=0 \
      cargo build --locked --quiet --profile "$profile" -p hearth-core -p hearth-connmgr --bins
  )
  (cd "$folder/target/$folder_of_profile" && sha256sum hearth-core hearth-connmgr) >"$folder/sums"
}

rustc --version
cc --version | sed -n 1p
echo "commit $commit"
build "$work/one"
build "$work/another/folder"
cat "$work/one/sums"
if cmp -s "$work/one/sums" "$work/another/folder/sums"; then
  echo "the same bytes, twice"
else
  cat "$work/another/folder/sums"
  echo "they differ"
  exit 1
fi
