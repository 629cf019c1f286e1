#!/usr/bin/env bash
# --trace: a download whose direct path dies and comes back, as agent and connector saw it, and the picture that is drawn of it.
. "$(dirname "$0")/lib.sh"
begin "$@"

# lines PROGRAM WHERE...: how many lines of its trace are so.
lines() {
  local name=$1 where=()
  shift
  local condition
  for condition in "$@"; do where+=(--where "$condition"); done
  tool count --log "$dir/$name.jsonl" "${where[@]}"
}

file=$(make_file served 12000000)
start_intermediate
start_service "$file" 3000000
start_connector "$(agent_id)" --trace "$dir/connector.jsonl"
start_agent --trace "$dir/agent.jsonl"
wait_agent 10000 sessions.0.path sessions.length=1 sessions.0.path=direct >/dev/null
start_tool download get --url "http://$local_address/file" --connect-for 10000
wait_agent 10000 sessions.0.path "sessions.0.receivedBytes>=3000000" >/dev/null
cut_path
wait_agent 10000 sessions.0.path sessions.0.path=relay >/dev/null
wait_agent 10000 sessions.0.path "sessions.0.receivedBytes>=7000000" >/dev/null
mend_path
exit_status download 60
equal "a download over a path that died is complete" "$status" 0
stop agent
equal "the agent ends" "$status" 0

equal "the trace says what it is" "$(lines agent event=trace schema=1 program=adit-agent)" 1
equal "it has the session's beginning and end" "$(lines agent event=session-start) $(lines agent event=session-end)" "1 1"
at_least "and its path changes" "$(lines agent event=path-changed from=direct to=relay)" 1
at_least "when QUIC migrated" "$(lines agent event=migrated)" 1
at_least "samples with round trip, window and bytes" \
  "$(lines agent event=sample "rttMs>=0" "congestionWindowBytes>0" "packetsLost>=0" "receivedBytes>0")" 20
# Samples are taken at intervals: the last one of a session may be from before its last bytes.
at_least "the connector's has its side of it" "$(lines connector event=sample "sentBytes>=6000000")" 1
equal "to the last byte" "$(lines connector event=session-end "sentBytes>=12000000")" 1
equal "it is its owner's alone" "$(stat -c %a "$dir/agent.jsonl")" 600

"$bun" "$root/packages/program/src/trace-plot/main.ts" "$dir/agent.jsonl" >"$dir/plot.out"
check "the picture is drawn beside it" grep -q '^<svg .*role="img"' "$dir/agent.svg"
check "and shows both paths" grep -q '<title>direct: .*<title>relay: ' <(tr -d '\n' <"$dir/agent.svg")
[ -z "${ADIT_E2E_KEEP:-}" ] || echo "# picture: $dir/agent.svg"
