#!/usr/bin/env bash
# The intermediate dies under a direct session: the session does not mind, new connections included. When it is back (same
# key, same place), the connector is found again.
. "$(dirname "$0")/lib.sh"
begin "$@"

file=$(make_file served 20000000)
hash=$(hash_of "$file")
start_intermediate
start_service "$file" 5000000
newcomer=$(agent_id newcomer)
start_connector "$(agent_id)" --allow "$newcomer"
start_agent
wait_agent 10000 sessions.0.path sessions.0.path=direct >/dev/null
session=$(wait_agent 2000 sessions.0.id)
ok "direct to begin with"

start_tool download get --url "http://$local_address/file"
tool wait --log "$dir/download.out" --where event=progress --where "bytes>=2000000" --timeout 10000 >/dev/null
stop intermediate KILL
killed=$(now_ms)
ok "the intermediate is killed in the middle of a download"
start_tool during get --url "http://$local_address/hello"
exit_status during 10
equal "a new connection works without it" "$status" 0
exit_status download 30
equal "the download is complete" "$status" 0
equal "its SHA-256 is that of the file" "$(tool wait --log "$dir/download.out" --where event=done --print sha256)" "$hash"
wait_agent 15000 intermediate.connected intermediate.connected=false >/dev/null
ok "the agent has noticed that the intermediate is gone ($(($(now_ms) - killed)) ms at most)"
equal "the session is direct still, and the same" "$(wait_agent 2000 sessions.length,sessions.0.id,sessions.0.path)" \
  "1	$session	direct"

back=$(now_ms)
start_intermediate
tool wait --url "http://$intermediate_admin/status" --where registrations.0.name=office --timeout 20000 >/dev/null
ok "restarted: the connector has registered again after $(($(now_ms) - back)) ms"
wait_agent 20000 intermediate.connected intermediate.connected=true >/dev/null
ok "the agent is connected to it again"

start newcomer "$bin/adit-agent" forward --intermediate 127.0.0.1:4433 --to office --local 127.0.0.2:9001=web \
  --bind "$agent_ip" --admin 127.0.0.1:9436 --state-dir "$dir/newcomer" --log json
start_tool found get --url http://127.0.0.2:9001/hello --connect-for 10000
exit_status found 15
equal "another agent finds the connector and is served" "$status" 0
wait_status http://127.0.0.1:9436/status 5000 sessions.0.path sessions.0.path=direct >/dev/null
ok "and its path becomes direct"
equal "the old session lives on: one handshake, direct" \
  "$(wait_agent 2000 sessions.0.id,sessions.0.path,sessions.0.handshakes)" "$session	direct	1"
start_tool again get --url "http://$local_address/hello"
exit_status again 10
equal "and serves" "$status" 0
