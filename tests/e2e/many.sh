#!/usr/bin/env bash
# Two hundred connections at once, of mixed sizes, through one session: every byte is right on both ends, and when they are over
# agent and connector hold neither a file descriptor nor memory of them.
. "$(dirname "$0")/lib.sh"
begin "$@"

connections=200
memory_slack_kb=80000 # of 800 connections, 100 KB each: the least of four rounds moves by half of that

descriptors() { find "/proc/${pid_of[$1]}/fd" -mindepth 1 | wc -l; }
resident_kb() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/${pid_of[$1]}/status"; }

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

start_intermediate
start service "$bun" "$here/tool/many.ts" serve "$service_address"
tool wait --log "$dir/service.out" --where event=listening >/dev/null
start_connector "$(agent_id)"
start_agent
wait_agent 10000 sessions.0.path sessions.length=1 sessions.0.path=direct >/dev/null

declare -A held=()
for name in agent connector; do held[$name]=$(descriptors "$name"); done

# A runtime's heap breathes: one run's resident memory is anything between two that are a factor of two apart. What is held for good
# shows in the least of several runs.
declare -A least=()
note_least() {
  local name kb
  for name in agent connector; do
    kb=$(resident_kb "$name")
    if [ "${least["$1 $name"]:-$kb}" -ge "$kb" ]; then least["$1 $name"]=$kb; fi
  done
}

for round in 1 2 3 4 5 6 7 8; do
  run_many "round $round"
  for name in agent connector; do
    check "the $name holds no more descriptors than before (${held[$name]})" settles "$name" "${held[$name]}"
  done
  if [ "$round" -le 4 ]; then note_least early; else note_least late; fi
done
for name in agent connector; do
  early_kb=${least["early $name"]}
  at_most "the $name's memory does not grow: $early_kb KB at least in rounds 1 to 4, about as much in 5 to 8" \
    "${least["late $name"]}" $((early_kb + memory_slack_kb))
done
equal "one handshake carried them all" "$(wait_agent 2000 sessions.0.handshakes)" 1
