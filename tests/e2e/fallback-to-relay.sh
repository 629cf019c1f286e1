#!/usr/bin/env bash
# UDP between the two is dropped from the start: everything goes over the relay, and status and log say why. Once the
# path is mended, the session finds it by itself.
. "$(dirname "$0")/lib.sh"
begin "$@"

size=10000000
file=$(make_file served "$size")
start_intermediate
start_service "$file"
start_connector "$(agent_id)"
cut_path
start_agent

start_tool first get --url "http://$local_address/hello" --connect-for 10000
exit_status first 15
equal "the first request is answered" "$status" 0
ok "its first byte came $(tool wait --log "$dir/first.out" --where event=done --print firstByteAfterMs) ms after the listener took it"
wait_agent 2000 sessions.0.path sessions.length=1 sessions.0.path=relay >/dev/null
ok "the agent's status: relay"

before=$(relayed_bytes)
start_tool download get --url "http://$local_address/file"
exit_status download 60
equal "a download of $size bytes is complete" "$status" 0
equal "its SHA-256 is that of the file" "$(tool wait --log "$dir/download.out" --where event=done --print sha256)" "$(hash_of "$file")"
at_least "the relay carried it ($(($(relayed_bytes) - before)) bytes relayed)" "$(($(relayed_bytes) - before))" "$size"

# Every pair failed, or 5 s: whichever is first.
reason=$(wait_agent 8000 sessions.0.reason sessions.0.path=relay "sessions.0.reason~(fail|answer|within|5 s)")
ok "the status says why: $reason"
tool wait --log "$dir/agent.log" --where "reason=$reason" --timeout 2000 >/dev/null || fail "the log says why, in the same words"
ok "the log says why, in the same words"
equal "one of the two sides is relayed" \
  "$(wait_agent 2000 sessions.0.localType,sessions.0.remoteType | grep -cw relay)" 1
equal "handshakes: 1" "$(wait_agent 2000 sessions.0.handshakes)" 1
at_least "the cut swallowed checks ($(swallowed) packets)" "$(swallowed)" 1
equal "the path never was direct" "$(tool count --log "$dir/agent.log" --where event=path-changed --where to=direct)" 0

mend_path
mended=$(now_ms)
wait_agent 40000 sessions.0.path sessions.0.path=direct >/dev/null
ok "mended: direct after $(($(now_ms) - mended)) ms, without being asked"
equal "handshakes: 1 still" "$(wait_agent 2000 sessions.0.handshakes)" 1
