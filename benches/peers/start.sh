# Starts and stops the servers that are compared; for scripts that source it. They set bin, peers, out, port, tls_port, epmd_port and
# keep, and for each start dir and server. What lies in the folder of $peers that $kind names is taken first.
# shellcheck shell=bash disable=SC2034,SC2154
pids="" running=""
say() { printf '%s\n' "$*" >&2; }

stop() {
    # Last started, first stopped; only what start_* began. ejabberd takes some seconds.
    # If it is stopped before its own process is known, that is a child of what was started.
    local pid
    for pid in $running; do running="$(pgrep -P "$pid" | tr '\n' ' ' || true) $running"; done
    for pid in $running; do kill "$pid" 2>/dev/null || true; done
    for pid in $running; do
        for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    done
    # The port mapper that its node started, if there is one; refused while it knows a node.
    if [ "${server:-}" = ejabberd ]; then ERL_EPMD_PORT=$epmd_port epmd -kill >/dev/null 2>&1 || true; fi
    running="" pids=""
}
finish() {
    stop
    if [ -z "$keep" ]; then rm -rf "$out"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

await_port() {
    # ejabberd takes seconds, on a busy machine a minute.
    for _ in $(seq 1500); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return 0; fi
        sleep 0.1
    done
    say "nothing listens on port $1; see $2"
    return 1
}
fill() { # template, log_off
    local from="$peers/${kind:+$kind/}$1"
    if [ ! -e "$from" ]; then from="$peers/$1"; fi
    sed "s,@DIR@,$dir,g; s,@PORT@,$port,g; s,@TLS_PORT@,$tls_port,g; s,@EPMD_PORT@,$epmd_port,g; s,@LOG_OFF@,${2:-},g" \
        "$from"
}
# A certificate for localhost that OpenSSL, rustls and Erlang take for a server's.
certificate() {
    if [ -e "$dir/key.pem" ]; then return; fi
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
        -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
}
# Under the package's own user if we are root; servers refuse to run as root.
as_user() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"; else exec "$@"; fi
}
own() { if [ "$(id -u)" = 0 ]; then chown -R "$1" "$dir"; fi; }

# start_X leaves the server's processes in $pids, as load wants them, and in $running.
start_hearth() { # log_off
    fill hearth-core.toml "$1" >"$dir/core.toml"
    fill hearth-connmgr.toml >"$dir/connmgr.toml"
    "$bin/hearth-core" --config "$dir/core.toml" >"$dir/core.out" 2>&1 &
    local core=$!
    running="$core"
    "$bin/hearth-connmgr" --config "$dir/connmgr.toml" >"$dir/connmgr.out" 2>&1 &
    running="$! $core" pids="edge=$!,core=$core"
    await_port $port "$dir"
}
start_prosody() { # extra configuration
    { printf '%s\n' "$1"; fill prosody.cfg.lua; } >"$dir/prosody.cfg.lua"
    mkdir -p "$dir/data" "$dir/certs"
    own prosody
    (as_user prosody prosody -F --config "$dir/prosody.cfg.lua") >"$dir/out" 2>&1 &
    running=$! pids="server=$!"
    await_port $port "$dir"
}
start_ejabberd() {
    fill ejabberd.yml >"$dir/ejabberd.yml"
    fill ejabberdctl.cfg >"$dir/ejabberdctl.cfg"
    cp /etc/ejabberd/inetrc "$dir/" 2>/dev/null || : >"$dir/inetrc"
    cat "$dir/key.pem" "$dir/cert.pem" >"$dir/both.pem"
    mkdir -p "$dir/spool" "$dir/logs"
    own ejabberd
    # Not through ejabberdctl's own change of user: that lowers the limit of descriptors.
    (cd "$dir" && HOME="$dir" as_user ejabberd ejabberdctl --config-dir "$dir" --config "$dir/ejabberd.yml" \
        --ctl-config "$dir/ejabberdctl.cfg" --spool "$dir/spool" --logs "$dir/logs" foreground) >"$dir/out" 2>&1 &
    running=$!
    await_port $port "$dir"
    sleep 5 # it listens before it serves everything
    local beam
    beam=$(ss -ltnpH "sport = :$port" | grep -o 'pid=[0-9]*' | head -1 | cut -d= -f2)
    running="$beam $running" pids="server=$beam"
}
