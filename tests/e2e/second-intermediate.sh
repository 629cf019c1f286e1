#!/usr/bin/env bash
# Two intermediates, and the one whose relay carries the session dies in the middle of a transfer: the other one's relay takes over,
# in the same session, on the same QUIC connection and the same TCP connection, and every byte arrives once.
#   ADIT_E2E_BYTES=N   how much is transferred (30 MB)
. "$(dirname "$0")/lib.sh"
begin "$@"

size=${ADIT_E2E_BYTES:-30000000}
rate=15000000 # bytes/s from the service, so that the death comes in the middle also on a fast machine
file=$(make_file served "$size")
hash=$(hash_of "$file")
second_address=127.0.0.4:4433
second_admin=127.0.0.4:9433

start_second() {
  start second "$bin/adit-intermediate" --listen "$second_address" --stun 127.0.0.4:3478 --admin "$second_admin" \
    --state-dir "$dir/second" --allow-private-relay --log json
  tool wait --url "http://$second_admin/healthz" --timeout 10000 --pid "${pid_of[second]}" >/dev/null ||
    fail "the second intermediate is healthy"
}

# relays ADMIN: bytes that this intermediate has relayed.
relays() { wait_status "http://$1/status" 2000 relayedBytes; }

start_intermediate
start_second
start_service "$file" "$rate"
cut_path # direct is not to be had: the session lives on a relay
start_connector "$(agent_id)" --intermediate "$second_address"
wait_status "http://$second_admin/status" 10000 registrations.0.name registrations.0.name=office >/dev/null
ok "the connector is registered at both"
start_agent --intermediate "$second_address"
wait_agent 10000 intermediates.0.connected,intermediates.1.connected intermediates.0.connected=true \
  intermediates.1.connected=true >/dev/null
ok "the agent is connected to both"

# dies NAME ADMIN_OF_THE_OTHER HANDSHAKES: kills the intermediate NAME under a transfer.
dies() {
  local name=$1 other=$2 transfer=get-$1 before killed_at gap
  start_tool "$transfer" get --url "http://$local_address/file" --timeout 60000
  tool wait --log "$dir/$transfer.out" --where event=progress --where "bytes>=$((size / 3))" --timeout 30000 >/dev/null
  before=$(relays "$other")
  kill -KILL "${pid_of[$name]}"
  killed_at=$(now_ms)
  exit_status "$transfer" 60
  equal "$name dies: the transfer ends well, on the one TCP connection it began on" "$status" 0
  equal "$name dies: its SHA-256 is that of the file" \
    "$(tool wait --log "$dir/$transfer.out" --where event=done --print sha256)" "$hash"
  at_least "$name dies: the other one's relay carried the rest" "$(($(relays "$other") - before))" "$((size / 4))"
  gap=$(tool gap --log "$dir/$transfer.out" --from "$killed_at" --to "$((killed_at + 4000))" | sed 's/.*"ms":\([0-9.]*\).*/\1/')
  at_most "$name dies: the longest silence that the application saw: $gap ms; 2000 at most" "$gap" 2000
  equal "$name dies: the same session, one handshake, relayed" \
    "$(wait_agent 2000 sessions.length,sessions.0.handshakes,sessions.0.path)" "1	1	relay"
}

# The one whose relay the session is on; the other one.
on_relay_of() {
  case $(wait_agent 2000 sessions.0.remote) in
    127.0.0.1:*) echo intermediate "$second_admin" ;;
    127.0.0.4:*) echo second "$intermediate_admin" ;;
    *) echo nobody nothing ;;
  esac
}

tool get --url "http://$local_address/hello" >/dev/null
equal "relayed" "$(wait_agent 5000 sessions.0.path)" relay
read -r first other < <(on_relay_of)
dies "$first" "$other"

# It comes back, the session is known there again and has a way over its relay; then the other one goes.
if [ "$first" = intermediate ]; then start_intermediate; else start_second; fi
wait_agent 30000 intermediates.0.connected,intermediates.1.connected intermediates.0.connected=true \
  intermediates.1.connected=true >/dev/null
wait_status "http://$connector_admin/status" 30000 intermediates.0.connected,intermediates.1.connected \
  intermediates.0.connected=true intermediates.1.connected=true >/dev/null
ok "$first is back, and both are connected to it"
case $first in intermediate) returned=$intermediate_admin ;; second) returned=$second_admin ;; esac
wait_status "http://$returned/status" 10000 sessions.active,allocations sessions.active=1 allocations=1 >/dev/null
ok "$first knows the session, and has an allocation"
wait_status "http://$returned/status" 10000 relayedPackets 'relayedPackets>=4' >/dev/null
ok "checks go over its relay"
read -r second_to_die returned < <(on_relay_of)
dies "$second_to_die" "$returned"
