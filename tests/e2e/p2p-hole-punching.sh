#!/usr/bin/env bash
# The whole way: relay first, then direct. The first request is on its way before there is a session; its answer comes over
# the relay. Then the same QUIC connection moves to the direct path, and the relay has nothing more to do.
. "$(dirname "$0")/lib.sh"
begin "$@"

size=20000000
file=$(make_file served "$size")
start_intermediate
start_service "$file"
start_connector "$(agent_id)"

start_tool first get --url "http://$local_address/hello" --connect-for 10000
start_agent

exit_status first 15
equal "the first request is answered" "$status" 0
read -r connected first_byte first_byte_after < <(
  tool wait --log "$dir/first.out" --where event=done --print connectedMs,firstByteMs,firstByteAfterMs
)
read -r from changed_at gap < <(
  tool wait --log "$dir/agent.log" --where event=path-changed --where to=direct --timeout 5000 --print from,time,gapMs
)
changed=$(epoch_of "$changed_at")
equal "the path goes from relay to direct" "$from" relay
at_most "the first response byte ($first_byte_after ms after the listener took the connection) came before the switch" \
  "$first_byte" "$changed"
at_most "direct $((changed - ${connected%.*})) ms after the first connection, with a gap of $gap ms; 2000 at most" \
  "$((changed - ${connected%.*}))" 2000
relayed=$(relayed_bytes)
at_least "the relay carried the first response ($relayed bytes relayed)" "$relayed" 8192

wait_agent 2000 sessions.0.path sessions.length=1 sessions.0.path=direct sessions.0.localType=host sessions.0.remoteType=host \
  "sessions.0.local~^$agent_ip:" "sessions.0.remote~^$connector_ip:" sessions.0.peer.name=office >/dev/null
ok "the agent's status: direct, host to host, from $agent_ip to $connector_ip"

sleep 0.5 # what was under way on the relay arrives
before=$(relayed_bytes)
start_tool download get --url "http://$local_address/file"
exit_status download 60
equal "a download of $size bytes is complete" "$status" 0
equal "its SHA-256 is that of the file" "$(tool wait --log "$dir/download.out" --where event=done --print sha256)" "$(hash_of "$file")"
after=$(relayed_bytes)
at_most "the relay's counter stands still meanwhile (keepalives apart: $((after - before)) bytes)" "$((after - before))" 20000

equal "handshakes: 1, by the agent" "$(wait_agent 2000 sessions.0.handshakes)" 1
equal "handshakes: 1, by the connector" "$(wait_status "http://$connector_admin/status" 2000 sessions.0.handshakes)" 1
equal "migrations: 1" "$(wait_agent 2000 sessions.0.migrations)" 1

"$bin/adit-agent" status --json --admin "$agent_admin" >"$dir/cli-status.out"
equal "adit-agent status --json tells the same" "$(tool wait --log "$dir/cli-status.out" --timeout 0 --print sessions.0.path)" direct
check "adit-agent status says it in words" grep -q direct <("$bin/adit-agent" status --admin "$agent_admin")
check "adit-agent status --check direct succeeds" "$bin/adit-agent" status --check direct --admin "$agent_admin"

stop agent INT
equal "the agent ends cleanly on SIGINT" "$status" 0
wait_status "http://$connector_admin/status" 5000 sessions.length sessions.length=0 >/dev/null
ok "the connector's session is gone with it"
stop connector TERM
equal "the connector ends cleanly on SIGTERM" "$status" 0
wait_status "http://$intermediate_admin/status" 5000 allocations allocations=0 registrations.length=0 >/dev/null
ok "the intermediate holds no allocation and no name any more"
stop intermediate INT
equal "the intermediate ends cleanly on SIGINT" "$status" 0
