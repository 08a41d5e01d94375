#!/bin/bash
# Attacks Hearth, Prosody and ejabberd in turn on loopback, one attack after another, each server started anew for each, beside
# honest clients; prints one table: CPU and memory of the server (Hearth: edge and core) for one hostile connection or a thousand
# steps, and what honest clients feel. Only ratios within one run say anything.
#
#   benches/hostile.sh                                       all: 500 connections, 20 seconds each, some 30 minutes
#   benches/hostile.sh --quick                               100 connections, 5 seconds each, to see that it works
#   benches/hostile.sh --servers "hearth prosody" --attacks "elements logins" --json FILE
#
# Servers: hearth prosody ejabberd; as root, Debian's packages are installed where they are missing. Each as Debian or we configure it
# (benches/peers/hostile): rates, sizes, bans as they come; Hearth's hold for loopback as well.
# Attacks: elements attributes depth slow hellos handshakes key-updates logins connects readers presence stanzas; what each
# is says `attack --help`. XML that does not end has as many bytes as each server takes of a stranger: 8,190, 9,900 and 262,000.
# --connections N, --seconds N, --before N (seconds without attack): other numbers. --built takes the executables of target/release
# as they are, or of the folder that HEARTH_BIN names. --json FILE (target/hostile.jsonl) gets one line for each run.
# Stores lie in memory (/dev/shm), so that neither the disk nor who else uses it counts. --out FOLDER keeps configurations, accounts and
# logs there; a later run with the same folder uses the accounts again.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="${HEARTH_BIN:-$PWD/target/release}" peers="$PWD/benches/peers"

servers="hearth prosody ejabberd"
attacks="elements attributes depth slow hellos handshakes key-updates logins connects readers presence stanzas"
built="${HEARTH_BIN:+yes}" out="" json="$PWD/target/hostile.jsonl" connections=500 seconds=20 before=10
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
while [ $# -gt 0 ]; do
    case "$1" in
        --servers) servers="$2"; shift 2 ;;
        --attacks) attacks="$2"; shift 2 ;;
        --connections) connections="$2"; shift 2 ;;
        --seconds) seconds="$2"; shift 2 ;;
        --before) before="$2"; shift 2 ;;
        --json) json="$2"; shift 2 ;;
        --out) out="$2"; shift 2 ;;
        --built) built=yes; shift ;;
        --quick) connections=100 seconds=5 before=3; shift ;;
        --help | -h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
honest=100 attackers=104 # accounts; the attackers' in groups of 26 who are contacts
port=36222 tls_port=36223 epmd_port=36369 kind=hostile
keep=$out
# In memory, where there is such a folder: the disk, which others use as well, is not what is measured.
if [ -z "$out" ]; then out=$(mktemp -d --tmpdir=/dev/shm 2>/dev/null || mktemp -d); fi
mkdir -p "$out" "$(dirname "$json")" && chmod 755 "$out" && out=$(cd "$out" && pwd)
: >"$json"
. benches/peers/start.sh

start() {
    # Somebody else's server must not be taken for ours.
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then say "port $port is in use"; exit 1; fi
    case "$server" in
        hearth) start_hearth false ;;
        prosody) start_prosody "" ;;
        ejabberd) start_ejabberd ;;
    esac
}
present() {
    case "$server" in
        hearth) [ -x "$bin/hearth-core" ] && [ -x "$bin/hearth-connmgr" ] ;;
        prosody) command -v prosody >/dev/null ;;
        ejabberd) command -v ejabberdctl >/dev/null ;;
        *) false ;;
    esac
}
load() { "$bin/load" "$@" --target "127.0.0.1:$port" --keys "$dir/keys" --pids "$pids" --label "$server" --json >/dev/null; }

# Accounts: for Hearth straight into its store, for others through the protocol, configured as compare.sh does.
accounts() {
    if [ -e "$dir/accounts" ]; then return; fi
    say "$server: making accounts"
    if [ "$server" = hearth ]; then
        "$bin/seed" --data "$dir/data" --users $honest >&2
        "$bin/seed" --data "$dir/data" --first-user $honest --users $attackers --contacts 25 >&2
    else
        kind="" start
        load register --users $((honest + attackers))
        load roster-setup --first-user $honest --users $attackers
        stop
    fi
    : >"$dir/accounts"
    rm -rf "$dir.fresh" && cp -a "$dir" "$dir.fresh"
}
# Just below what a server takes of a stranger.
bytes() {
    case "$server" in
        hearth) echo 8190 ;;
        prosody) echo 9900 ;;   # c2s_unauthed_stanza_size_limit: 10,000
        ejabberd) echo 262000 ;; # max_stanza_size: 262,144
    esac
}

missing=""
for server in $servers; do
    if [ "$server" != hearth ] && ! present; then missing="$missing $server"; fi
done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ]; then
    say "installing$missing"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2 ||
        say "could not install$missing"
fi
[ -n "$built" ] || cargo build --release --quiet -p hearth-core -p hearth-connmgr -p hearth-tools \
    --bin hearth-core --bin hearth-connmgr --bin load --bin seed --bin attack
for server in $servers; do
    if ! present; then say "$server: not installed, left out"; continue; fi
    dir="$out/$server"
    mkdir -p "$dir"
    certificate
    accounts
    for attack in $attacks; do
        # Nothing that an attack leaves in the store is there in the next.
        rm -rf "$dir" && cp -a "$dir.fresh" "$dir"
        start
        say "$server: $attack"
        # An attack that cannot be run is told and leaves its place in the table empty.
        "$bin/attack" "$attack" --target "127.0.0.1:$port" --tls-target "127.0.0.1:$tls_port" --certificate "$dir/cert.pem" \
            --pids "$pids" --label "$server" --connections "$connections" --bytes "$(bytes)" --seconds "$seconds" \
            --before "$before" | tee -a "$json" >&2 || say "$server: $attack failed"
        stop
    done
done
say "JSON: $json"
"$bin/attack" table <"$json"
