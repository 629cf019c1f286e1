#!/usr/bin/env bash
# Two hundred connections at once, of mixed sizes, through one session: every byte is right on both ends, and when they are over
# agent and connector hold neither a file descriptor nor memory of them.
. "$(dirname "$0")/lib.sh"
begin "$@"

connections=200
rounds=3
# Closures, promises and collections that are reachable when a program has carried 600 connections, above what it had before the first:
# code that was loaded meanwhile makes a hundred; a connection that stayed would hold some dozen each.
held_slack=$((connections * rounds / 2))
# The runtime's own heap grows by some MB while code is compiled; a connection that stayed would hold 64 KB and more.
heap_slack_kb=$((connections * rounds * 16))

descriptors() { find "/proc/${pid_of[$1]}/fd" -mindepth 1 | wc -l; }

# settles NAME COUNT: whether the program comes down to that many descriptors.
settles() {
  local deadline=$((SECONDS + 5))
  until [ "$(descriptors "$1")" -le "$2" ]; do
    [ "$SECONDS" -le "$deadline" ] || return 1
    sleep 0.1
  done
}

# run_many TEXT
run_many() {
  : >"$dir/many.out"
  start many "$bun" "$here/tool/many.ts" run "$local_address" "$connections"
  exit_status many 40
  equal "$1: every byte of $connections connections at once is right on both ends" "$status" 0
}

# with_heap NAME COMMAND...: the program that it starts tells what is reachable when it gets SIGUSR2; see tool/heap.ts.
with_heap() {
  ADIT_E2E_HEAP=$dir/$1.heap BUN_OPTIONS="--preload=$here/tool/heap.ts" "${@:2}"
}

# note_heap NAME: sets $held and $heap_kb, what is reachable after a full collection.
declare -A asked=()
note_heap() {
  local figures
  asked[$1]=$((${asked[$1]:-0} + 1))
  kill -USR2 "${pid_of[$1]}"
  figures=$(tool wait --log "$dir/$1.heap" --count "${asked[$1]}" --timeout 10000 --print held,heapKb) || fail "the $1 tells what it holds"
  read -r held heap_kb <<<"$figures"
}

# lets_go NAME: whether what is reachable comes down to what it was. (A stream's last word is repeated until it is sure to have arrived.)
lets_go() {
  local deadline=$((SECONDS + 10))
  while note_heap "$1"; do
    if [ "$held" -le $((first_held[$1] + held_slack)) ] && [ "$heap_kb" -le $((first_kb[$1] + heap_slack_kb)) ]; then return 0; fi
    [ "$SECONDS" -le "$deadline" ] || return 1
    sleep 0.3
  done
}

start_intermediate
start service "$bun" "$here/tool/many.ts" serve "$service_address"
tool wait --log "$dir/service.out" --where event=listening >/dev/null
allowed=$(agent_id)
with_heap connector start_connector "$allowed"
with_heap agent start_agent
wait_agent 10000 sessions.0.path sessions.length=1 sessions.0.path=direct >/dev/null

declare -A open=() first_held=() first_kb=()
for name in agent connector; do
  open[$name]=$(descriptors "$name")
  note_heap "$name"
  first_held[$name]=$held
  first_kb[$name]=$heap_kb
done

for ((round = 1; round <= rounds; round++)); do
  run_many "round $round"
  for name in agent connector; do
    check "the $name holds no more descriptors than before (${open[$name]})" settles "$name" "${open[$name]}"
  done
done
for name in agent connector; do
  at_first="${first_held[$name]} closures, promises and collections, ${first_kb[$name]} KB"
  lets_go "$name" || fail "the $name lets go of the connections: $at_first before, $held and $heap_kb KB after them"
  ok "the $name lets go of the connections: $at_first before, $held and $heap_kb KB after them"
done
equal "one handshake carried them all" "$(wait_agent 2000 sessions.0.handshakes)" 1
