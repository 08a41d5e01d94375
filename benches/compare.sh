#!/bin/bash
# Runs the same work in turn against Hearth (message log on, and off), Prosody (as it comes, and tuned), ejabberd,
# and a bare relay of bytes (the floor), all on loopback, and prints one table. Only ratios within one run say
# anything.
#
#   benches/compare.sh                                   everything: an hour or two
#   benches/compare.sh --middle                          a tenth of it
#   benches/compare.sh --quick                           small numbers, to see that it works
#   benches/compare.sh --servers "hearth ejabberd" --rows "login chat" --out FOLDER
#
# Servers: relay hearth hearth-nolog prosody prosody-tuned ejabberd. Those that are not installed are left out.
# Rows: login login-tls login-plain idle idle-tls idle-contacts chat chat-tls chat-rate presence, and with
# stream management on both sides (XEP-0198) chat-sm, chat-sm-100, chat-sm-1000, chat-sm-10000 (messages a second).
# --out keeps configurations, accounts and results.jsonl there; a later run with the same folder uses the accounts
# again. --built takes the executables of target/release as they are, or of the folder that HEARTH_BIN names. Bar charts
# go to benches/plots, or where --plots FOLDER says; with --quick only if it does. Needs openssl; prosody and ejabberd as
# Debian packages, and root to run them under their own users.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="${HEARTH_BIN:-$PWD/target/release}" peers="$PWD/benches/peers"

servers="relay hearth hearth-nolog prosody prosody-tuned ejabberd"
rows="login login-tls login-plain idle idle-tls idle-contacts chat chat-tls chat-rate presence"
built="${HEARTH_BIN:+yes}" out="" plots="$PWD/benches/plots" users=15000 friends=2080 from=1000 logins=10000 wait=60 seconds=20
while [ $# -gt 0 ]; do
    case "$1" in
        --servers) servers="$2"; shift 2 ;;
        --rows) rows="$2"; shift 2 ;;
        --out) out="$2"; shift 2 ;;
        --built) built=yes; shift ;;
        --plots) plots="$2"; shift 2 ;;
        --middle) users=4000 friends=520 logins=2000 wait=10 seconds=6; shift ;;
        --quick) users=2000 friends=520 from=500 logins=1000 wait=3 seconds=5 plots=; shift ;;
        *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2 ;;
    esac
done
total=$((users + friends)) # the first $users have no contacts, the others 25 each
port=35222 tls_port=35223 epmd_port=34369
keep=$out
if [ -z "$out" ]; then out=$(mktemp -d); fi
mkdir -p "$out" && chmod 755 "$out" && out=$(cd "$out" && pwd)
results="$out/results.jsonl"
: >"$results"

. benches/peers/start.sh
start_relay() {
    "$bin/relay" --listen "127.0.0.1:$port" >"$dir/out" 2>&1 &
    running=$! pids="server=$!"
    await_port $port "$dir"
}
start() {
    case "$server" in
        relay) start_relay ;;
        hearth) start_hearth false ;;
        hearth-nolog) start_hearth true ;;
        prosody) start_prosody "" ;;
        prosody-tuned) start_prosody 'gc = { mode = "generational" } network_settings = { nagle = false, tcp_nodelay = true }' ;;
        ejabberd) start_ejabberd ;;
    esac
}
present() {
    case "$server" in
        relay) [ -x "$bin/relay" ] ;;
        hearth*) [ -x "$bin/hearth-core" ] && [ -x "$bin/hearth-connmgr" ] ;;
        prosody*) command -v prosody >/dev/null ;;
        ejabberd) command -v ejabberdctl >/dev/null ;;
        *) false ;;
    esac
}

load() {
    if [ "$server" = relay ] && [[ "$*" != *PLAIN* ]]; then set -- "$@" --mechanism PLAIN; fi
    "$bin/load" "$@" --target "127.0.0.1:$port" --keys "$dir/keys" --pids "$pids" --label "$server" --json
}

# Accounts: for Hearth straight into its store, for others through the protocol.
accounts() {
    if [ -e "$dir/accounts" ]; then return; fi
    case "$server" in
        relay) ;; # believes everybody
        hearth*)
            "$bin/seed" --data "$dir/data" --users "$users" >&2
            "$bin/seed" --data "$dir/data" --first-user "$users" --users "$friends" --contacts 25 >&2
            ;;
        *)
            start
            say "$server: making $total accounts"
            load register --users "$total" >/dev/null
            load roster-setup --first-user "$users" --users "$friends" >/dev/null
            load login --users "$users" >/dev/null # derives all keys, so that they are at hand in what is measured
            stop
            ;;
    esac
    : >"$dir/accounts"
}

run_row() {
    case "$1" in
        login) load login --users "$logins" ;;
        login-tls) load login --users "$logins" --tls starttls ;;
        login-plain) load login --users $((logins / 4)) --mechanism PLAIN ;;
        idle) load idle --from "$from" --to "$users" --wait "$wait" ;;
        idle-tls) load idle --from "$from" --to "$users" --wait "$wait" --tls starttls ;;
        idle-contacts)
            load idle --first-user "$users" --from $((friends / 130 * 26)) --to "$friends" --wait "$wait" --roster
            ;;
        chat) load chat --users 1000 --seconds "$seconds" ;;
        chat-tls) load chat --users 1000 --seconds "$seconds" --tls starttls ;;
        chat-rate) load chat --users 1000 --seconds "$seconds" --rate 1000 ;;
        chat-sm) load chat --sm --users 1000 --seconds "$seconds" ;;
        chat-sm-*) load chat --sm --users 1000 --seconds "$seconds" --rate "${1#chat-sm-}" ;;
        presence) load presence --first-user "$users" --users $((friends < 1040 ? friends : 1040)) --seconds "$seconds" ;;
        *) say "no row is called $1"; return 2 ;;
    esac
}

[ -n "$built" ] || cargo build --release --quiet -p hearth-core -p hearth-connmgr -p hearth-tools \
    --bin hearth-core --bin hearth-connmgr --bin load --bin seed --bin relay
for server in $servers; do
    if ! present; then say "$server: not installed, left out"; continue; fi
    dir="$out/$server"
    mkdir -p "$dir"
    certificate
    accounts
    for row in $rows; do
        # The relay knows neither TLS nor rosters, and does no more than chat.
        if [ "$server" = relay ]; then case "$row" in login-plain | chat | chat-rate) ;; *) continue ;; esac; fi
        start
        say "$server: $row"
        # A row that fails is told and leaves its place in the table empty.
        run_row "$row" | tee -a "$results" | "$bin/load" table >&2 || say "$server: $row failed"
        stop
    done
done
"$bin/load" table ${plots:+--plots "$plots"} <"$results"
