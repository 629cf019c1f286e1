#!/usr/bin/env bash
# The agent outlives its connector: its listeners stay, it notices, and the next connection works once the connector is back.
. "$(dirname "$0")/lib.sh"
begin "$@"

start_intermediate
start_service "$(make_file served 100000)"
id=$(agent_id)
start_connector "$id"
start_agent
wait_agent 10000 sessions.0.path sessions.0.path=direct >/dev/null
ok "direct to begin with"

# restart HOW SIGNAL
restart() {
  local how=$1 before stopped registrations
  before=$(wait_agent 2000 sessions.0.id)
  registrations=$(tool count --log "$dir/connector.log" --where event=registered)
  stopped=$(now_ms)
  stop connector "$2"
  start_connector "$id"
  tool wait --log "$dir/connector.log" --where event=registered --count $((registrations + 1)) >/dev/null
  # A peer that was heard 200 ms ago gets a connection's first bytes with the request, and they are never sent twice: a connection of that
  # moment is reset where the peer is dead, as one is that was open. A restart may be quicker than that; a user's next connection is not.
  while [ "$(now_ms)" -lt $((stopped + 250)) ]; do pause 0.02; done
  start_tool "after-$how" get --url "http://$local_address/hello" --timeout 15000
  tool wait --log "$dir/agent.log" --since "$stopped" --where event=session-end --where "session=$before" --timeout 2000 >/dev/null ||
    fail "$how: the agent notices within 2 s of the new registration"
  ok "$how: the agent notices that its session is over"
  exit_status "after-$how" 20
  equal "$how: the next connection works" "$status" 0
  at_most "$how: its first byte came $(first_byte "after-$how") ms after it was taken; 4000 at most" "$(first_byte "after-$how")" 4000
  check "$how: the agent is the same process" running agent
  wait_agent 5000 sessions.0.id sessions.length=1 sessions.0.path=direct "sessions.0.id!=$before" >/dev/null
  ok "$how: a new session, and direct"
}

first_byte() { tool wait --log "$dir/$1.out" --where event=done --print firstByteAfterMs; }

restart ended TERM
restart killed KILL
