#!/usr/bin/env bash
# Runs Tsung scenarios against a Hearth (or Prosody) that it starts on loopback, or against a server that is there.
#
#   tsung-scenarios/run.sh chat                                one scenario, 1,000 users
#   tsung-scenarios/run.sh all --out FOLDER                    all six, one after the other; reports are kept
#   tsung-scenarios/run.sh chat --users 2000 --rate 100 --seconds 60 --slaves 4 --out FOLDER
#   tsung-scenarios/run.sh smoke                               all, very small, as TAP
#
# Scenarios: login-storm idle chat presence roster mixed-day; README.md says what each does.
#   --users N       sessions, each of an account of its own (1000)
#   --rate N        logins a second while they arrive (50)
#   --seconds N     how long they then stay (30)
#   --pause N       mean seconds between two acts of one user (chat 3, roster 5, presence and mixed-day 10)
#   --sources N     loopback addresses they come from (4)
#   --slaves N      that many Tsung slaves on 127.0.0.2 and on, instead of the controller alone
#   --clients LIST  slaves on these machines, by ssh: a,b,c,d
#   --connect FILE  program that starts a slave in place of ssh: FILE HOST COMMAND…
#   --controller IP the address slaves find the controller by (127.0.0.1)
#   --server NAME   hearth (default), prosody, or none: one that is there, with the accounts
#   --target A:P    where it listens (a free port of 127.0.0.1); outside 127.0.0.0/8 only with --i-own-the-target
#   --domain D      domain of the accounts (localhost); --password P (pencil); they are user0, user1, …
#   --out FOLDER    keeps what was run, logs, report.html and results.tsv there
# Environment: HEARTH_BIN, the folder of hearth-core, hearth-connmgr, seed and load (target/release).
# ERL_EPMD_PORT, where Erlang nodes find each other (a free port; with --clients always 4369).
# Needs python3 and Debian's tsung; installs that if it is missing and this runs as root. Exit code 0: no error was counted, and every
# session came to its end.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD bin=${HEARTH_BIN:-../target/release} peers=../benches/peers
users=1000 rate=50 seconds=30 sources=4 slaves=0 clients="" connect="" controller=127.0.0.1
server=hearth target="" mine="" domain=localhost password=pencil pause="" keep="" what=""
all="login-storm idle chat presence roster mixed-day"
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
while [ $# -gt 0 ]; do
  case "$1" in
    --users | --rate | --seconds | --sources | --slaves | --clients | --connect | --controller | --server | --target | \
      --domain | --password | --pause)
      [ $# -gt 1 ] || { usage && exit 2; }
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    --out) keep=$2 && shift ;;
    --i-own-the-target) mine=yes ;;
    --help | -h) usage && exit 0 ;;
    smoke | login-storm | idle | chat | presence | roster | mixed-day) what="$what $1" ;;
    all) what=$all ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
[ -n "$what" ] || { usage >&2 && exit 2; }
smoke=""
if [[ $what == *smoke* ]]; then smoke=yes what=$all users=26 rate=26 seconds=2 pause=2; fi
for number in "$users" "$rate" "$seconds" "$sources" "$slaves" "${pause:-1}"; do
  [[ $number =~ ^[0-9]{1,7}$ ]] || { echo "not a number: $number" >&2 && exit 2; }
done
if [ "$users" -lt 1 ] || [ "$rate" -lt 1 ] || [ "$slaves" -gt 16 ] || [ "$sources" -lt 1 ] || [ "$sources" -gt 200 ]; then
  echo "at least one user, one login a second and one source; at most 16 slaves and 200 sources" >&2
  exit 2
fi
# A free port: whoever takes it a moment from now makes what listens there fail, and this with it.
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
if [ -z "$target" ]; then
  [ "$server" != none ] || { echo "--server none needs --target" >&2 && exit 2; }
  target=127.0.0.1:$(free_port)
fi
host=${target%:*} port=${target##*:}
if [[ $host != 127.* && -z $mine ]]; then
  echo "$host is not loopback: --i-own-the-target says that the server is yours to load" >&2
  exit 2
fi

say() { printf '%s\n' "$*" >&2; }
skip() {
  if [ -n "$smoke" ]; then
    echo "ok 1 - Tsung scenarios # SKIP $1"
    echo "0 ok, 0 not ok"
    exit 0
  fi
  say "$1"
  exit 1
}
if ! command -v tsung >/dev/null; then
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || skip "no tsung (Debian: tsung gnuplot-nox openssl)"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends tsung gnuplot-nox openssl; } >&2 ||
    skip "tsung cannot be installed"
fi
stats=$(echo /usr/lib/*/tsung/bin/tsung_stats.pl)

[ -z "$keep" ] || mkdir -p "$keep"
work=$(mktemp -d)
chmod 755 "$work"
out=${keep:-$work/out}
mkdir -p "$out" && out=$(cd "$out" && pwd)
results=$out/results.tsv

# What was started here, the last first.
pids=()
end() { # pid…: asked to stop, and waited for
  local pid
  for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
  for pid in "$@"; do
    # In a trap a child that has ended stays until it is waited for: a zombie.
    for _ in $(seq 200); do [[ $(ps -o stat= -p "$pid") == [!Z]* ]] || break; sleep 0.1; done
    wait "$pid" 2>/dev/null || true
  done
}
stop() {
  # tsung is a script; what it started goes with it, and slaves with their controller.
  if [ -n "${tsung:-}" ]; then
    # shellcheck disable=SC2046
    end $(ps -o pid= --ppid "$tsung") "$tsung"
  fi
  end ${pids[@]+"${pids[@]}"}
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM
await_port() { # address, port
  local pid
  for _ in $(seq 300); do
    sleep 0.1
    # What listens there may be somebody else's while ours could not.
    for pid in "${watched[@]}"; do
      kill -0 "$pid" 2>/dev/null || { say "the server has ended; see core.out, connmgr.out, prosody.out" && return 1; }
    done
    if (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; then return 0; fi
  done
  say "nothing listens on $1:$2"
  return 1
}

# The server, and its accounts: user0 and on; those of the presence scenario's size have 25 contacts each.
dir=$work/server accounts=$((users + users / 4 + 1)) names=() watched=()
fill() {
  sed "s,@DIR@,$dir,g; s,@PORT@,$port,g; s,@TLS_PORT@,$(free_port),g; s,@LOG_OFF@,false,g" "$peers/$1" |
    sed "s,\(name\|domain\) = \"localhost\",\1 = \"$domain\",; s,VirtualHost \"localhost\",VirtualHost \"$domain\","
}
certificate() {
  mkdir -p "$dir" && chmod 755 "$dir"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$domain" \
    -addext "subjectAltName=DNS:$domain" -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
}
start_hearth() {
  "$bin/seed" --data "$dir/data" --domain "$domain" --users "$accounts" --password "$password" --contacts 25 >&2
  fill hearth-core.toml >"$dir/core.toml"
  fill hearth-connmgr.toml >"$dir/connmgr.toml"
  "$bin/hearth-core" --config "$dir/core.toml" >"$out/core.out" 2>&1 &
  names=(core) watched=($!) pids=($! ${pids[@]+"${pids[@]}"})
  "$bin/hearth-connmgr" --config "$dir/connmgr.toml" >"$out/connmgr.out" 2>&1 &
  names=(edge core) watched=($! "${watched[@]}") pids=($! "${pids[@]}")
  await_port "$host" "$port"
}
start_prosody() {
  local as=()
  fill prosody.cfg.lua >"$dir/prosody.cfg.lua"
  mkdir -p "$dir/data" "$dir/certs"
  if [ "$(id -u)" -eq 0 ]; then
    chown -R prosody "$dir"
    as=(setpriv --reuid=prosody --regid=prosody --clear-groups)
  fi
  (exec ${as[@]+"${as[@]}"} prosody -F --config "$dir/prosody.cfg.lua") >"$out/prosody.out" 2>&1 &
  names=(server) watched=($!) pids=($! ${pids[@]+"${pids[@]}"})
  await_port "$host" "$port"
  say "making $accounts accounts"
  "$bin/load" register --target "$target" --domain "$domain" --password "$password" --users "$accounts" >/dev/null &
  pids=($! "${pids[@]}")
  wait $!
  pids=("${pids[@]:1}")
  # Rosters as seed makes them, straight into the store, as through the protocol they take minutes: groups of 26.
  local folder
  folder=$dir/data/$(sed 's/[.]/%2e/g; s/-/%2d/g' <<<"$domain")/roster
  mkdir -p "$folder"
  awk -v n="$accounts" -v domain="$domain" -v folder="$folder" 'BEGIN {
    for (i = 0; i < n; i++) {
      file = folder "/user" i ".dat"
      print "return { [false] = { [\"pending\"] = {}; [\"version\"] = 1; };" >file
      first = i - i % 26
      for (k = first; k < first + 26 && k < n; k++)
        if (k != i) printf "[\"user%d@%s\"] = { [\"subscription\"] = \"both\"; [\"groups\"] = { [\"Friends\"] = true; }; [\"name\"] = \"User %d\"; };\n", k, domain, k >file
      print "};" >file
      close(file)
    }
  }'
  if [ "$(id -u)" -eq 0 ]; then chown -R prosody "$folder"; fi
}
case "$server" in
  hearth | prosody)
    for program in hearth-core hearth-connmgr seed load; do
      [ -x "$bin/$program" ] || { say "no $bin/$program: cargo build --release" && exit 1; }
    done
    certificate
    "start_$server"
    ;;
  none) ;;
  *) say "no server is called $server" && exit 2 ;;
esac

# Erlang's port mapper and nodes of our own, on loopback alone unless slaves are elsewhere; the name of the run is
# their cookie, too.
run=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
export HOME=$work/home ERL_EPMD_PORT=${ERL_EPMD_PORT:-$(free_port)}
mkdir -p "$HOME"
machines=()
if [ -n "$clients" ]; then
  IFS=, read -ra machines <<<"$clients"
else
  for n in $(seq 2 $((slaves + 1))); do machines+=("127.0.0.$n"); done
fi
if [ -z "$clients" ]; then
  export ERL_EPMD_ADDRESS=127.0.0.1
  for machine in ${machines[@]+"${machines[@]}"}; do ERL_EPMD_ADDRESS+=,$machine; done
  export ERL_AFLAGS="-kernel inet_dist_use_interface {127,0,0,1}"
  # Starts a slave of this machine; the address it gets is the one it is known by.
  printf '%s\n' '#!/bin/sh' 'host=$1' 'shift' \
    'export ERL_AFLAGS="-kernel inet_dist_use_interface {$(echo "$host" | tr . ,)}"' 'exec sh -c "$*"' >"$work/here"
  chmod +x "$work/here"
  connect=${connect:-$work/here}
else
  unset ERL_EPMD_PORT # slaves have the usual one
fi
epmd >/dev/null 2>&1 &
pids+=($!)

# The scenario with its values, and what it includes.
prepare() { # scenario, folder
  local file n every=$pause arrive=$(((users + rate - 1) / rate))
  if [ -z "$every" ]; then
    case "$1" in chat) every=3 ;; roster) every=5 ;; *) every=10 ;; esac
  fi
  mkdir -p "$2"
  for file in "$1.xml" login.xml roster-get.xml roster-edit.xml logout.xml; do
    sed "s,@DTD@,/usr/share/tsung/tsung-1.0.dtd,g; s,@HOST@,$host,g; s,@PORT@,$port,g; s,@DOMAIN@,$domain,g
      s,@USERS@,$users,g; s,@RATE@,$rate,g; s,@SECONDS@,$seconds,g
      s,@TIMES@,$((seconds > every ? seconds / every : 1)),g
      s,@LOW@,$(((every * 7 + 9) / 10)),g; s,@HIGH@,$(((every * 13 + 9) / 10)),g
      s,@TIMEOUT@,$(((arrive * 2 + 60) * 1000)),g; s,@LIMIT@,$((arrive * 3 + seconds * 2 + 120)),g" \
      "$here/$file" >"$2/$file"
  done
  # In the mixed day some accounts stay away.
  n=$users
  [ "$1" != mixed-day ] || n=$accounts
  seq 0 $((n - 1)) | sed "s/.*/user&;$password/" >"$2/accounts.csv"
  {
    echo "<clients>"
    if [ ${#machines[@]} -eq 0 ]; then
      echo '<client host="localhost" use_controller_vm="true" maxusers="19000">'
      for n in $(seq "$sources"); do echo "<ip value=\"127.0.1.$n\"/>"; done
      echo "</client>"
    fi
    for n in ${machines[@]+"${machines[@]}"}; do
      echo "<client host=\"$n\" maxusers=\"19000\">$([[ $n != 127.* ]] || echo "<ip value=\"$n\"/>")</client>"
    done
    echo "</clients>"
  } >"$2/clients.xml"
  [[ $host == 127.* ]] || sed -i '/<ip /s,<ip [^>]*>,,' "$2/clients.xml"
}
cpu() { # pid: seconds so far
  sed 's/^.*) //' "/proc/$1/stat" | awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f", ($12 + $13) / hz }'
}
pss() { awk '/^Pss:/ { printf "%.1f", $2 / 1024 }' "/proc/$1/smaps_rollup"; }
total() { # counter, tsung.log: its last total
  awk -v name="$1" '$1 == "stats:" && $2 == name { n = $NF } END { print n + 0 }' "$2"
}
sampled() { # sample, tsung.log: how many values there were
  awk -v name="$1" '$1 == "stats:" && $2 == name { n += $3 } END { print n + 0 }' "$2"
}
# Quantiles of a sample from every value that Tsung kept: count mean p50 p99 max.
quantiles() { # sample or part of it, samples
  awk -v name="$1" '$1 ~ name { print $2 }' "$2" | LC_ALL=C sort -g |
    awk '{ v[NR] = $1; s += $1 }
      function at(q,  i) { i = int(NR * q + 0.999999); return v[i < 1 ? 1 : i] }
      END {
        if (NR) printf "%d\t%.2f\t%.2f\t%.2f\t%.2f", NR, s / NR, at(0.5), at(0.99), v[NR]
        else printf "0\t-\t-\t-\t-"
      }'
}

# tsung.log and one more interval, in which nothing happened: the total of a sample lacks the interval it stands in, so
# that the report would know nothing of the last ten seconds.
complete() { # tsung.log
  cat "$1"
  awk '$1 == "#" && $2 == "stats:" { at = $NF; n = 0 }
    $1 == "stats:" && $2 !~ /^[{]/ { lines[n++] = $0 }
    END {
      print "# stats: dump at " at + 10
      for (i = 0; i < n; i++) {
        # name, count, mean, deviation, most, least, mean and count before; of a counter: name, count, total
        if (split(lines[i], f, " ") < 9) { print f[1], f[2], 0, f[4]; continue }
        count = f[3] + f[9]
        print f[1], f[2], 0, 0, 0, f[6], f[7], count ? (f[3] * f[4] + f[9] * f[8]) / count : 0, count
      }
    }' "$1"
}

# Runs one; leaves its row in results.tsv. Fails if Tsung counted an error or a session did not come to its end.
scenario() {
  local name=$1 folder=$out/$1 code=0 n log started
  rm -rf "$folder"
  prepare "$name" "$folder"
  local -a before=() first=() last=() peak=()
  for n in "${!watched[@]}"; do
    before[n]=$(cpu "${watched[n]}") first[n]=$(pss "${watched[n]}")
    peak[n]=${first[n]}
  done
  started=$SECONDS
  # In the folder: Erlang looks for what a file includes there first.
  (cd "$folder" && exec tsung -n -i "$run" -I "$controller" ${connect:+-r "$connect"} -f "$name.xml" -l "$folder/log" start) \
    >"$folder/tsung.out" 2>&1 &
  tsung=$!
  while kill -0 "$tsung" 2>/dev/null; do
    sleep 1
    for n in "${!watched[@]}"; do
      last[n]=$(pss "${watched[n]}") || { say "the ${names[n]} is gone" && return 1; }
      peak[n]=$(printf '%s\n' "${peak[n]}" "${last[n]}" | sort -g | tail -1)
      printf '%s\t%s\t%s\t%s\n' $((SECONDS - started)) "${names[n]}" "${last[n]}" "$(cpu "${watched[n]}")" >>"$folder/proc.tsv"
    done
  done
  wait "$tsung" || code=$?
  tsung=""
  log=$(echo "$folder"/log/*/tsung.log)
  if [ "$code" -ne 0 ] || [ ! -s "$log" ]; then
    say "$name: tsung failed, exit code $code"
    sed 's/^/# /' "$folder/tsung.out" >&2
    return 1
  fi
  complete "$log" >"${log%/*}/complete.log"
  (cd "${log%/*}" && perl "$stats" --stats complete.log >stats.out 2>&1) || say "$name: no report; see ${log%/*}/stats.out"
  # Every value that Tsung kept, one a line: `{sample,NAME,1.5}` and `{sample,NAME,[1.5,2.5,…]}`.
  local full=$folder/samples
  tr -d ' \n' <"${log%/*}/tsung-fullstats.log" |
    grep -oE '\{sample,(tr_[a-z_]+|xmpp_msg_latency),(\[[^]]*\]|[^],}]*)\}' |
    sed -E 's/^.sample,([a-z_]+),/\1 /; s/[]}[]//g' |
    awk '{ n = split($2, v, ","); for (i = 1; i <= n; i++) print $1, v[i] }' >"$full" || true
  local begun ended errors
  begun=$(total users_count "$log") ended=$(total finish_users_count "$log")
  # Whatever Tsung calls an error, an answer that was another than expected, and sessions without an end.
  errors=$(awk '$1 == "stats:" && ($2 ~ /^error/ || $2 ~ /^match_/ || $2 == "nomatch" || $2 == "timeout") { n[$2] = $NF }
    END { for (k in n) { s += n[k]; what = what " " k "=" n[k] } print s + 0 what }' "$log")
  {
    printf '%s\t%s\t%s\t%s\t%s\t%s' "$name" "$begun" "$ended" "$(sampled connect "$log")" \
      "$(sampled request "$log")" "$(total request_noack "$log")"
    printf '\t%s\t%s\t%s' "$(quantiles '^tr_login$' "$full")" "$(quantiles ^tr_roster "$full")" \
      "$(quantiles '^xmpp_msg_latency$' "$full")"
    printf '\t%s\t%s' "$errors" $((SECONDS - started))
    for n in "${!watched[@]}"; do
      printf '\t%s\t%s\t%s\t%s' "${names[n]}" \
        "$(echo "$(cpu "${watched[n]}") ${before[n]}" | awk '{ printf "%.2f", $1 - $2 }')" "${first[n]}" "${peak[n]}"
    done
    echo
  } | tee "$folder/result.tsv" >>"$results"
  say "$name: ${log%/*}/report.html"
  [ "${errors%% *}" = 0 ] && [ "$begun" = "$ended" ] && [ "$begun" = "$users" ]
}
table() {
  awk -F'\t' 'BEGIN { OFS = " | " }
    NR == 1 {
      print "| scenario | sessions begun, ended | requests: answered, others | login ms: mean, p50, p99, max" \
        " | roster ms: mean, p99 | delivery ms: count, mean, p50, p99 | errors | s | CPU s; PSS MiB first, most |"
      print "|---|---|---|---|---|---|---|---|---|"
    }
    {
      cost = ""
      for (i = 24; i < NF; i += 4) cost = cost (i > 24 ? "; " : "") $i " " $(i + 1) " s, " $(i + 2) ", " $(i + 3)
      print "| " $1, $2 ", " $3, $5 ", " $6, $8 ", " $9 ", " $10 ", " $11, $13 ", " $15, \
        $17 ", " $18 ", " $19 ", " $20, $22, $23, cost " |"
    }' "$results"
}

: >"$results"
failed=0 number=0
for name in $what; do
  number=$((number + 1)) verdict=ok
  scenario "$name" || verdict="not ok" failed=$((failed + 1))
  if [ -n "$smoke" ]; then
    echo "$verdict $number - Tsung: $name, $users sessions"
    if [ "$verdict" != ok ]; then sed 's/^/# /' "$out/$name/result.tsv" "$out/$name/tsung.out" 2>/dev/null || true; fi
  fi
done
if [ -n "$smoke" ]; then
  table | sed 's/^/# /'
  echo "$((number - failed)) ok, $failed not ok"
else
  table
fi
[ "$failed" -eq 0 ]
