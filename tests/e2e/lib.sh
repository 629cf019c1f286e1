# shellcheck shell=bash
# What every scenario stands on. A scenario begins with
#     . "$(dirname "$0")/lib.sh"
#     begin "$@"
# and then runs alone in a network namespace of its own, where 127.0.0.1, .2 and .3 are a whole network and no port is
# taken. Programs are started with `start`, ended with `stop`, and all ended at exit, by pid. What was checked is
# printed as TAP; the first thing that is not so prints the tails of the logs and ends the scenario with status 1.

set -Eeuo pipefail
export PATH="$PATH:/usr/sbin:/sbin" # nft and ip, for a user who is not root

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=${ADIT_E2E_BIN:-$root/node_modules/.bin} # of the programs under test
bun=$root/node_modules/.bin/bun
scenario=$(basename "$0" .sh)

# --- a namespace of our own ------------------------------------------------------------------------------------------

# Prints the command that makes one: without root where the system allows it, with root's own right otherwise.
namespace_command() {
  if unshare -rn true 2>/dev/null; then
    echo "unshare -rn"
  elif [ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then
    echo "unshare -n"
  else
    return 1
  fi
}

namespace_help() {
  cat >&2 <<'HELP'
A network namespace is needed, and this system does not give one to this user. Any one of these helps:
  - install util-linux (it brings `unshare`):                    apt-get install util-linux
  - allow user namespaces (Debian):                              sysctl -w kernel.unprivileged_userns_clone=1
  - allow them to every program (Ubuntu 23.10 and later):        sysctl -w kernel.apparmor_restrict_unprivileged_userns=0
  - in Docker: run the container with --security-opt seccomp=unconfined --cap-add SYS_ADMIN --cap-add NET_ADMIN
  - run this as root
HELP
}

# Cutting a path takes nft in the namespace.
can_cut() {
  command -v nft >/dev/null && nft add table inet adit_probe 2>/dev/null && nft delete table inet adit_probe
}

cut_help() {
  cat >&2 <<'HELP'
Cutting a path takes nftables, with the kernel's nf_tables:      apt-get install nftables
HELP
}

enter_namespace() {
  if [ "${ADIT_E2E_NAMESPACE:-}" != entered ]; then
    local command
    command=$(namespace_command) || {
      namespace_help
      exit 1
    }
    # shellcheck disable=SC2086 # two words
    ADIT_E2E_NAMESPACE=entered exec $command bash "$0" "$@"
  fi
  ip link set lo up
  can_cut || {
    cut_help
    exit 1
  }
}

# --- the run's directory, and its end --------------------------------------------------------------------------------

started=() # names, in the order in which they were started
declare -A pid_of=()
checks=0
failed=0
status=0 # of the last program that ended

# pause SECONDS: `sleep` without a process. Nothing is ever written to what is read from.
exec {silence}<> <(:)
pause() { read -rt "$1" -u "$silence" || true; }

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

begin_run() {
  dir=$(mktemp -d "${TMPDIR:-/tmp}/adit-e2e.$scenario.XXXXXX")
  trap end_run EXIT
  trap 'echo "# $(basename "$0") line $LINENO: $BASH_COMMAND" >&2' ERR
  trap 'exit 130' INT
  trap 'exit 141' PIPE
  trap 'exit 143' TERM
}

end_run() {
  local status=$?
  trap - EXIT ERR
  trap '' INT PIPE TERM
  set +e # the programs are ended also when there is nobody left to be told
  if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
    echo "not ok $((checks + 1)) - the scenario came to its end (exit status $status)"
    show_logs
  fi
  local i name
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    name=${started[$i]}
    if running "$name"; then kill -TERM "${pid_of[$name]}" 2>/dev/null || true; fi
  done
  for name in "${started[@]}"; do end_at_last "$name"; done
  if [ "$status" = 0 ] && [ "$checks" -gt 0 ]; then echo "1..$checks"; fi
  if [ -n "${ADIT_E2E_KEEP:-}" ]; then
    echo "# logs: $dir"
  else
    rm -rf "$dir"
  fi
  exit "$status"
}

# Waits up to 3 s for a program that was asked to end; then it is killed.
end_at_last() {
  local deadline=$((SECONDS + 3))
  while running "$1" && [ "$SECONDS" -lt "$deadline" ]; do pause 0.05; done
  if running "$1"; then kill -KILL "${pid_of[$1]}" 2>/dev/null || true; fi
  wait "${pid_of[$1]}" 2>/dev/null || true
}

# --- programs --------------------------------------------------------------------------------------------------------

# start NAME COMMAND...: in the background; stdout to $dir/NAME.out, stderr to $dir/NAME.log. NAME may be used again: the
# logs of a second life follow those of the first. (A shell starts what runs in the background deaf to SIGINT; `env` undoes that.)
start() {
  local name=$1
  shift
  env --default-signal=INT "$@" >>"$dir/$name.out" 2>>"$dir/$name.log" </dev/null &
  pid_of[$name]=$!
  remember_pid $!
  local known
  for known in "${started[@]}"; do
    if [ "$known" = "$name" ]; then return; fi
  done
  started+=("$name")
}

# For run.sh, which ends what is left if this shell is killed. The start time tells a process from a later one of that number.
remember_pid() {
  [ -z "${ADIT_E2E_PIDS:-}" ] || echo "$1 $(cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null)" >>"$ADIT_E2E_PIDS"
}

# A child that has ended stays a zombie until `wait`: it does not run. Asked many times a second, so it forks nothing.
running() {
  local stat
  { read -r stat <"/proc/${pid_of[$1]}/stat"; } 2>/dev/null || return 1
  stat=${stat##*) }
  [ "${stat:0:1}" != Z ]
}

# exit_status NAME [SECONDS]: waits for the end and sets $status; a program that does not end is a failure.
exit_status() {
  local name=$1 deadline=$((SECONDS + ${2:-5}))
  while running "$name"; do
    [ "$SECONDS" -le "$deadline" ] || fail "$name ends within ${2:-5} s"
    pause 0.02
  done
  status=0
  wait "${pid_of[$name]}" 2>/dev/null || status=$?
}

# stop NAME [SIGNAL] [SECONDS]: sends the signal (TERM) and waits; sets $status.
stop() {
  kill "-${2:-TERM}" "${pid_of[$1]}"
  exit_status "$1" "${3:-5}"
}

tool() { "$bun" "$here/tool.ts" "$@"; }

# start_tool NAME SUBCOMMAND...
start_tool() {
  local name=$1
  shift
  start "$name" "$bun" "$here/tool.ts" "$@"
}

# --- checks ----------------------------------------------------------------------------------------------------------

ok() {
  checks=$((checks + 1))
  echo "ok $checks - $*"
}

fail() {
  checks=$((checks + 1))
  failed=1
  echo "not ok $checks - $*"
  show_logs
  exit 1
}

# check TEXT COMMAND...: the command's success is the check.
check() {
  local text=$1
  shift
  if "$@"; then ok "$text"; else fail "$text"; fi
}

# equal TEXT ACTUAL EXPECTED
equal() {
  if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: got '$2', expected '$3'"; fi
}

# at_most TEXT ACTUAL BOUND: whole numbers, or numbers whose fraction does not matter.
at_most() {
  if [ "${2%.*}" -le "${3%.*}" ]; then ok "$1"; else fail "$1: got $2, at most $3 was expected"; fi
}

at_least() {
  if [ "${2%.*}" -ge "${3%.*}" ]; then ok "$1"; else fail "$1: got $2, at least $3 was expected"; fi
}

# says NAME PATTERN: whether the program's words hold the pattern (extended, letter case ignored).
says() { grep -Eiq -- "$2" "$dir/$1.log" "$dir/$1.out"; }

show_logs() {
  local name file
  for name in "${started[@]}"; do
    for file in "$dir/$name.log" "$dir/$name.out"; do
      [ -s "$file" ] || continue
      echo "# --- the last of $(basename "$file")"
      { grep -Ev '"event":"(sink-)?progress"' "$file" || true; } | tail -n "${ADIT_E2E_TAIL:-30}" | cut -c1-400 | sed 's/^/#   /'
    done
  done
}

# --- the network -----------------------------------------------------------------------------------------------------

# The direct path between the agent and the connector; the intermediate on 127.0.0.1 stays in reach of both. Packets are
# dropped on arrival, without a word: a drop on the way out would tell the sender so (EPERM).
agent_ip=127.0.0.2
connector_ip=127.0.0.3

# cut_path [up|down]: both ways, or only what the agent sends (up), or the connector (down).
cut_path() {
  local way=${1:-both} up="" down=""
  [ "$way" = down ] || up="ip saddr $agent_ip ip daddr $connector_ip meta l4proto udp counter drop"
  [ "$way" = up ] || down="ip saddr $connector_ip ip daddr $agent_ip meta l4proto udp counter drop"
  nft -f - <<RULES
table inet adit_cut {
  chain arriving {
    type filter hook input priority 0; policy accept;
    $up
    $down
  }
}
RULES
}

mend_path() { nft delete table inet adit_cut; }

# How many packets the cut has swallowed so far.
swallowed() {
  nft list table inet adit_cut | sed -n 's/.*counter packets \([0-9]*\).*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }'
}

# --- the three programs, as most scenarios want them -----------------------------------------------------------------

intermediate_address=127.0.0.1:4433
stun_address=127.0.0.1:3478
intermediate_admin=127.0.0.1:9433
connector_admin=127.0.0.1:9434
agent_admin=127.0.0.1:9435
service_address=127.0.0.1:8080
local_address=127.0.0.2:9000 # where the agent listens

start_intermediate() {
  start intermediate "$bin/adit-intermediate" --listen "$intermediate_address" --stun "$stun_address" \
    --admin "$intermediate_admin" --state-dir "$dir/intermediate" --allow-private-relay --log json "$@"
  tool wait --url "http://$intermediate_admin/healthz" --timeout 30000 --pid "${pid_of[intermediate]}" >/dev/null ||
    fail "the intermediate is healthy"
}

# start_service FILE [RATE]
start_service() {
  start_tool service serve --listen "$service_address" --file "$1" ${2:+--rate "$2"}
  tool wait --log "$dir/service.out" --where event=listening >/dev/null
}

# The PeerId of a program with this state directory: made on first use.
agent_id() { "$bin/adit-agent" id --state-dir "$dir/${1:-agent}"; }

# start_connector ALLOWED_PEERID [OPTION...]: nobody is allowed when that is empty.
start_connector() {
  local allowed=$1
  shift
  start connector "$bin/adit-connector" --intermediate "$intermediate_address" --name office --expose "web=tcp://$service_address" \
    ${allowed:+--allow "$allowed"} --bind "$connector_ip" --admin "$connector_admin" --state-dir "$dir/connector" --log json "$@"
  tool wait --url "http://$intermediate_admin/status" --where registrations.0.name=office --timeout 30000 \
    --pid "${pid_of[connector]}" >/dev/null ||
    fail "the connector is registered"
}

start_agent() {
  start agent "$bin/adit-agent" forward --intermediate "$intermediate_address" --to office --local "$local_address=web" \
    --bind "$agent_ip" --admin "$agent_admin" --state-dir "$dir/agent" --log json "$@"
}

# wait_agent TIMEOUT_MS PRINT WHERE...: waits for the agent's status to be so, and prints values of it.
wait_agent() { wait_status "http://$agent_admin/status" "$@"; }

wait_status() {
  local url=$1 timeout=$2 print=$3 where=()
  shift 3
  local condition
  for condition in "$@"; do where+=(--where "$condition"); done
  tool wait --url "$url" --timeout "$timeout" --print "$print" "${where[@]}"
}

# Bytes that the intermediate has relayed so far.
relayed_bytes() { wait_status "http://$intermediate_admin/status" 2000 relayedBytes; }

# make_file NAME BYTES: a file of random bytes; prints its path.
make_file() {
  head -c "$2" /dev/urandom >"$dir/$1"
  echo "$dir/$1"
}

hash_of() { sha256sum "$1" | cut -d' ' -f1; }

# Milliseconds since 1970 of an RFC 3339 time.
epoch_of() { date -d "$1" +%s%3N; }

begin() {
  enter_namespace "$@"
  begin_run
}
