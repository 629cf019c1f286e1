#!/usr/bin/env bash
# One session, a download and an upload at once on one TCP connection each, and its path changes three times under them: from the relay to the direct
# path when that is there; back, when what the agent sends on it is lost and what the connector sends is not; and the same the other way round. Every byte
# arrives once, on the one QUIC connection. (The pauses themselves are measured by bench/switches.sh and bench/planned-switches.sh.)
. "$(dirname "$0")/lib.sh"
begin "$@"

size=30000000
rate=6000000 # bytes/s each way, so that all changes come while both are under way
file=$(make_file served "$size")
hash=$(hash_of "$file")
start_intermediate
start_service "$file" "$rate"
start_connector "$(agent_id)"
cut_path
start_tool download get --url "http://$local_address/file" --connect-for 10000 --timeout 45000
start_tool upload put --url "http://$local_address/sink" --file "$file" --rate "$rate" --connect-for 10000 --timeout 45000
start_agent

# under_way SINCE: both have moved since then.
under_way() {
  tool wait --log "$dir/download.out" --since "$1" --where event=progress --timeout 10000 >/dev/null
  tool wait --log "$dir/service.out" --since "$1" --where event=sink-progress --timeout 10000 >/dev/null
}

# changed TO SINCE: waits until the session is on that path, and says when that was.
changed() {
  epoch_of "$(tool wait --log "$dir/agent.log" --since "$2" --where event=path-changed --where "to=$1" --timeout 10000 --print time)"
}

# longest_pause LOG FROM TO: the longest silence there.
longest_pause() { tool gap --log "$dir/$1" --from "$2" --to "$3" | sed 's/.*"ms":\([0-9.]*\).*/\1/'; }

under_way 0
begun=$(now_ms)
mend_path
at_direct=$(changed direct "$begun")
ok "the direct path is there, and the session moves to it"

declare -A cut_at=()
for way in up down; do
  under_way "$(now_ms)"
  cut_at[$way]=$(now_ms)
  cut_path "$way"
  at=$(changed relay "${cut_at[$way]}")
  at_most "cut $way: on the relay after $((at - cut_at[$way])) ms; 3000 at most" $((at - cut_at[$way])) 3000
  at_least "cut $way: packets were swallowed" "$(swallowed)" 1
  mended=$(now_ms)
  mend_path
  [ "$way" = down ] || changed direct "$mended" >/dev/null
done
check "all of it while the download went on" running download
check "and the upload" running upload
exit_status download 60
equal "download: complete, on the one TCP connection it began on" "$status" 0
exit_status upload 60
equal "upload: complete, on the one TCP connection it began on" "$status" 0
equal "download: its SHA-256 is that of the file" "$(tool wait --log "$dir/download.out" --where event=done --print sha256)" "$hash"
equal "upload: its SHA-256 is that of the file" "$(tool wait --log "$dir/upload.out" --where event=done --print answer.sha256)" "$hash"
equal "one session, one handshake" "$(wait_agent 2000 sessions.length,sessions.0.handshakes)" "1	1"
for log in download.out service.out; do
  ok "$log: longest pause at the planned switch $(longest_pause "$log" $((at_direct - 100)) $((at_direct + 100))) ms, cut up" \
    "$(longest_pause "$log" "${cut_at[up]}" $((cut_at[up] + 800))) ms, cut down $(longest_pause "$log" "${cut_at[down]}" $((cut_at[down] + 800))) ms"
done
