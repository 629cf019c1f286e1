#!/usr/bin/env bash
# One UDP socket per program and address family, however many sessions: signaling, checks, TURN and all peers share it.
. "$(dirname "$0")/lib.sh"
begin "$@"

agents=10
rounds=2 # each agent costs a second of CPU, and the second round shows what ended sessions leave
start_intermediate
start_service "$(make_file served 100000)"
allowed=()
for ((i = 1; i <= agents; i++)); do allowed+=(--allow "$(agent_id "agent$i")"); done
start_connector "${allowed[@]:1}"

# How many UDP sockets of a family (4 or 6) the program holds.
sockets() { ss "-${2}Huanp" | grep -c "pid=${pid_of[$1]}," || true; }

start_round() {
  local i
  for ((i = 1; i <= agents; i++)); do
    start "agent$i" "$bin/adit-agent" forward --intermediate 127.0.0.1:4433 --to office --local "127.0.0.2:$((9000 + i))=web" \
      --bind "127.0.1.$i" --admin "127.0.0.1:$((9500 + i))" --state-dir "$dir/agent$i" --log json
  done
  # On a machine with much else to do ten programs that start at once take longer than the 10 s that a local connection waits.
  for ((i = 1; i <= agents; i++)); do
    wait_status "http://127.0.0.1:$((9500 + i))/status" 60000 sessions.0.handshakes sessions.0.handshakes=1 >/dev/null
  done
  for ((i = 1; i <= agents; i++)); do
    start_tool "request$i" get --url "http://127.0.0.2:$((9000 + i))/hello" --connect-for 10000
  done
  for ((i = 1; i <= agents; i++)); do
    exit_status "request$i" 30
    [ "$status" = 0 ] || fail "agent $i is served"
  done
}

equal "the connector alone: one IPv4 socket" "$(sockets connector 4)" 1
for ((round = 1; round <= rounds; round++)); do
  start_round
  wait_status "http://$connector_admin/status" 5000 sessions.length "sessions.length=$agents" >/dev/null
  equal "the connector with $agents sessions at once ($((round * agents)) so far): one IPv4 socket" "$(sockets connector 4)" 1
  equal "and none of IPv6, being bound to an IPv4 address" "$(sockets connector 6)" 0
  for ((i = 1; i <= agents; i++)); do [ "$(sockets "agent$i" 4)" = 1 ] || fail "agent $i has one UDP socket"; done
  ok "each of the $agents agents: one"
  for ((i = 1; i <= agents; i++)); do kill -TERM "${pid_of[agent$i]}"; done
  for ((i = 1; i <= agents; i++)); do
    exit_status "agent$i"
    [ "$status" = 0 ] || fail "agent $i ends cleanly: exit status $status"
  done
  wait_status "http://$connector_admin/status" 10000 sessions.length sessions.length=0 >/dev/null
done
equal "after $((rounds * agents)) sessions: one socket" "$(sockets connector 4)" 1
equal "of which each was a session of its own in the connector's log" \
  "$(tool count --log "$dir/connector.log" --where event=session-start)" "$((rounds * agents))"

stop connector

# Bound to no address, as most will be: the wildcard of each family, on a network that is not loopback.
ip link add adit0 type veth peer name adit1
ip address add 10.77.0.1/24 dev adit0
ip address add fd77::1/64 dev adit0 nodad
ip link set adit0 up
ip link set adit1 up
stop intermediate
intermediate_address=10.77.0.1:4433
stun_address=10.77.0.1:3478
start_intermediate
start wide-connector "$bin/adit-connector" --intermediate "$intermediate_address" --name office \
  --expose "web=tcp://$service_address" --allow "$(agent_id)" --admin "$connector_admin" --state-dir "$dir/connector" --log json
tool wait --url "http://$intermediate_admin/status" --where registrations.0.name=office --timeout 10000 >/dev/null
start wide-agent "$bin/adit-agent" forward --intermediate "$intermediate_address" --to office --local "$local_address=web" \
  --admin "$agent_admin" --state-dir "$dir/agent" --log json
start_tool request get --url "http://$local_address/hello" --connect-for 10000
exit_status request 15
equal "bound to no address: served" "$status" 0
wait_agent 5000 sessions.0.path sessions.0.path=direct >/dev/null
ok "bound to no address: direct"
for name in wide-agent wide-connector; do
  equal "bound to no address: $name has one IPv4 socket" "$(sockets "$name" 4)" 1
  at_most "bound to no address: and at most one of IPv6" "$(sockets "$name" 6)" 1
done
