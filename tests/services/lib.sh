# Sourced by the scripts of this folder: where things are and how they report.

services=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$services/../.." && pwd)

# What is fetched or written goes here: below the build directory, so that nothing of it is in the way of git.
services_dir=${TELEMILL_SERVICES_DIR:-${CARGO_TARGET_DIR:-$root/target}/services}
[[ $services_dir = /* ]] || services_dir=$root/$services_dir
kafka_libs=$services_dir/kafka/libs

# Servers live in sbin, which is not on every user's PATH.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# The value of option $1, given as $2, or a clear end: "--port" as the last word has none.
value() { [[ $# -ge 2 ]] || die "$1 needs a value"; printf '%s' "$2"; }

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A free port pair (PORT and PORT + 1), below the range that the kernel gives to outgoing connections: a port from that
# range could be taken while its server is down, even by a client that keeps dialling it (a TCP self-connection).
free_port() {
  local port
  for ((;;)); do
    port=$((20000 + RANDOM % 12000))
    listening "$port" || listening $((port + 1)) || { echo "$port"; return; }
  done
}

# When process $1 started, in ticks since boot; nothing when it is gone. Ids are used again, the pair is not.
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # Behind the command's name, which may hold spaces: field 1 is the state, field 20 the start.
  read -r -a stat <<<"${stat##*) }"
  [[ ${stat[0]} == Z ]] || echo "${stat[19]}"
}

# The services of directory $1 that run: lines of "name pid".
running() {
  local file pid start
  for file in "$1"/*/pid; do
    [[ -e $file ]] || continue
    read -r pid start <"$file"
    [[ $(started_at "$pid") != "$start" ]] || echo "$(basename "$(dirname "$file")") $pid"
  done
}

# Stops what runs in directory $1: politely, then, after 20 s, for good.
stop_all() {
  local tries pid
  for pid in $(running "$1" | cut -d ' ' -f 2); do kill -TERM "$pid" 2>/dev/null || true; done
  for ((tries = 0; tries < 200; tries++)); do
    [[ -n $(running "$1") ]] || break
    sleep 0.1
  done
  for pid in $(running "$1" | cut -d ' ' -f 2); do kill -KILL "$pid" 2>/dev/null || true; done
  rm -f "$1"/*/pid "$1/env"
}
