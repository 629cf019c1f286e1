#!/usr/bin/env bash
# npm run e2e [-- NAME...]: every scenario, or those whose names hold one of the words given. Each runs alone, in a network
# namespace of its own, under a time limit. The last line counts them.
#   ADIT_E2E_KEEP=1   keeps the logs of each scenario
#   ADIT_E2E_TAIL=N   how many lines of each log a failure shows (30)
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
limit_s=240
scenarios=(
  p2p-hole-punching
  fallback-to-relay
  direct-dies
  path-changes
  intermediate-restart
  connector-restart
  refusals
  one-socket
  pipe-and-ping
  udp
  udp-blocked
  second-intermediate
  trace
  many
  tickets
)

wanted() {
  [ "$#" -gt 1 ] || return 0
  local word
  for word in "${@:2}"; do
    case $1 in *"$word"*) return 0 ;; esac
  done
  return 1
}

# What a scenario that was killed left behind. The start time tells its processes from later ones with their numbers.
end_leftovers() {
  local pid began
  while read -r pid began; do
    if [ -n "$began" ] && [ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$began" ]; then
      kill -KILL "$pid" 2>/dev/null && echo "# ended what was left: process $pid"
    fi
  done <"$1"
}

# Ctrl-C, or a reader of our output that has left.
interrupted() {
  trap '' INT PIPE TERM
  if [ -n "$current" ]; then
    kill -TERM "$current"
    wait "$current"
  fi
  end_leftovers "$pids" >/dev/null 2>&1
  exit 130
}

current=
work=$(mktemp -d "${TMPDIR:-/tmp}/adit-e2e.XXXXXX")
pids=$work/pids
trap 'if [ -z "${ADIT_E2E_KEEP:-}" ]; then rm -rf "$work"; fi' EXIT
trap interrupted INT PIPE TERM

passed=0
failed=()
for name in "${scenarios[@]}"; do
  wanted "$name" "$@" || continue
  echo "# $name"
  : >"$pids"
  begun_us=${EPOCHREALTIME/[.,]/}
  TMPDIR=$work ADIT_E2E_PIDS=$pids timeout --kill-after=15 "$limit_s" bash "$here/$name.sh" &
  current=$!
  wait "$current"
  status=$?
  current=
  end_leftovers "$pids"
  took_s=$(((${EPOCHREALTIME/[.,]/} - begun_us) / 1000000))
  if [ "$status" = 0 ]; then
    passed=$((passed + 1))
    result="passed in $took_s s"
  else
    failed+=("$name")
    result="FAILED after $took_s s, of at most $limit_s (exit status $status)"
  fi
  printf '# %s: %s\n\n' "$name" "$result"
done

for name in "${failed[@]}"; do echo "failed: $name"; done
[ $((passed + ${#failed[@]})) -gt 0 ] || echo "no scenario's name holds \"$*\"; there are: ${scenarios[*]}"
echo "$passed passed, ${#failed[@]} failed"
[ "${#failed[@]}" = 0 ] && [ "$passed" -gt 0 ]
