#!/usr/bin/env bash
# The direct path goes silent in the middle of 100 MB, once downloading, once uploading: the same TCP connection goes on over
# the relay and every byte arrives once. Mended, the session is direct again. One QUIC handshake for all of it.
. "$(dirname "$0")/lib.sh"
begin "$@"

size=100000000
cut_after=30000000
rate=40000000 # bytes/s from the service, so that the cut comes in the middle also on a fast machine
file=$(make_file served "$size")
hash=$(hash_of "$file")
start_intermediate
start_service "$file" "$rate"
start_connector "$(agent_id)"
start_agent
wait_agent 10000 sessions.0.path sessions.0.path=direct >/dev/null
ok "direct to begin with"

# dies WHAT LOG EVENT: cuts the path under the transfer WHAT once such an event in LOG says that enough has passed.
dies() {
  local what=$1 progress_log=$2 progress_event=$3 cut_at relayed_before back_at back_after mended
  tool wait --log "$progress_log" --where "event=$progress_event" --where "bytes>=$cut_after" --timeout 30000 >/dev/null
  relayed_before=$(relayed_bytes)
  cut_at=$(now_ms)
  cut_path
  back_at=$(tool wait --log "$dir/agent.log" --since "$cut_at" --where event=path-changed --where to=relay \
    --timeout 10000 --print time) || fail "$what: on the relay after the cut"
  back_after=$(($(epoch_of "$back_at") - cut_at))
  at_most "$what: on the relay $back_after ms after the cut; 3000 at most" "$back_after" 3000
  check "$what: the transfer goes on" running "$what"
  exit_status "$what" 60
  equal "$what: complete, on the one TCP connection it began on" "$status" 0
  at_least "$what: the cut swallowed packets ($(swallowed))" "$(swallowed)" 1
  at_least "$what: the relay carried the rest ($(($(relayed_bytes) - relayed_before)) bytes)" \
    "$(($(relayed_bytes) - relayed_before))" 1000000
  ok "$what: the longest silence that the application saw at the cut: $(gap_of "$cut_at" "$progress_log") ms"
  equal "$what: the session stays on the relay" "$(wait_agent 2000 sessions.0.path)" relay

  mend_path
  mended=$(now_ms)
  wait_agent 40000 sessions.0.path sessions.0.path=direct >/dev/null
  ok "$what: mended: direct again after $(($(now_ms) - mended)) ms"
  equal "$what: handshakes: 1 still" "$(wait_agent 2000 sessions.length,sessions.0.handshakes)" "1	1"
}

# gap_of SINCE LOG: the longest silence in the second after the cut.
gap_of() { tool gap --log "$2" --from "$1" --to "$(($1 + 1000))" | sed 's/.*"ms":\([0-9.]*\).*/\1/'; }

start_tool download get --url "http://$local_address/file" --timeout 45000
dies download "$dir/download.out" progress
equal "download: its SHA-256 is that of the file" "$(tool wait --log "$dir/download.out" --where event=done --print sha256)" "$hash"
equal "download: the service was asked once" "$(tool count --log "$dir/service.out" --where event=request --where url=/file)" 1

start_tool upload put --url "http://$local_address/sink" --file "$file" --timeout 45000
dies upload "$dir/service.out" sink-progress
equal "upload: the service got the file" \
  "$(tool wait --log "$dir/upload.out" --where event=done --print answer.bytes,answer.sha256)" "$size	$hash"
equal "upload: the service was asked once" "$(tool count --log "$dir/service.out" --where event=request --where url=/sink)" 1

read -r migrations < <(wait_agent 2000 sessions.0.migrations)
at_least "migrations: $migrations (to direct, and twice there and back)" "$migrations" 5

# Three connections in the midst of it, and Ctrl-C: a clean end all the same.
for number in 1 2 3; do start_tool "cut-off-$number" get --url "http://$local_address/file" --timeout 45000; done
for number in 1 2 3; do tool wait --log "$dir/cut-off-$number.out" --where event=progress --timeout 10000 >/dev/null; done
stop agent INT
equal "Ctrl-C in the midst of three downloads: the agent ends cleanly" "$status" 0
check "and the connector goes on" running connector
