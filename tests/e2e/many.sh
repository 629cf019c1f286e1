#!/usr/bin/env bash
# Two hundred connections at once, of mixed sizes, through one session: every byte is right on both ends, and when they are over
# agent and connector hold neither a file descriptor nor memory of them.
. "$(dirname "$0")/lib.sh"
begin "$@"

connections=200
memory_slack_kb=40000 # what a runtime's heap breathes by

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

for round in first second third; do
  run_many "$round round"
  for name in agent connector; do
    check "the $name holds no more descriptors than before (${held[$name]})" settles "$name" "${held[$name]}"
  done
  # Heaps have their size after the second round; a leak grows in the third as well.
  if [ "$round" = second ]; then
    agent_kb=$(resident_kb agent)
    connector_kb=$(resident_kb connector)
  fi
done
at_most "the agent's memory does not grow (from $agent_kb KB)" "$(resident_kb agent)" $((agent_kb + memory_slack_kb))
at_most "the connector's memory does not grow (from $connector_kb KB)" "$(resident_kb connector)" $((connector_kb + memory_slack_kb))
equal "one handshake carried them all" "$(wait_agent 2000 sessions.0.handshakes)" 1
