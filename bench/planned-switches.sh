#!/usr/bin/env bash
# bench/planned-switches.sh [SWITCHES] [BYTES]: how long the bytes pause when a session moves from the relay to the direct path while a download
# and an upload of BYTES each (12 MB) go on, measured by who receives them. A new session for each switch (25): the direct path is blocked until
# both are under way. Every byte is checked, on the TCP connection that it began on. Beside each pause stands the longest silence of as long a
# time before the switch: what this machine does by itself.
. "$(dirname "$0")/../tests/e2e/lib.sh"
begin "$@"

switches=${1:-25}
size=${2:-12000000}
rate=4000000 # bytes/s, each way
window_ms=200
file=$(make_file served "$size")
hash=$(hash_of "$file")
sent=$(make_file sent "$size")
sent_hash=$(hash_of "$sent")
start_intermediate
start_service "$file" "$rate"
start_connector "$(agent_id)"

declare -A silences=() # by direction and time
slowest_rtt=0

# note NAME LOG FROM: the longest silence in LOG in the time that begins there.
note() {
  silences[$1]+="$(tool gap --log "$2" --from "$3" --to "$(($3 + window_ms))" | sed 's/.*"ms":\([0-9.]*\).*/\1/') "
}

for ((i = 0; i < switches; i++)); do
  cut_path
  begun=$(now_ms)
  start_tool "download$i" get --url "http://$local_address/file" --connect-for 10000 --timeout 30000
  start_tool "upload$i" put --url "http://$local_address/sink" --file "$sent" --rate "$rate" --connect-for 10000 --timeout 30000
  start_agent
  tool wait --log "$dir/download$i.out" --where event=progress --where "bytes>=1000000" --timeout 10000 >/dev/null
  tool wait --log "$dir/service.out" --since "$begun" --where event=sink-progress --where "bytes>=1000000" --timeout 10000 >/dev/null
  mend_path
  at=$(epoch_of "$(tool wait --log "$dir/agent.log" --since "$begun" --where event=path-changed --where to=direct --timeout 10000 --print time)")
  rtt=$(wait_agent 2000 sessions.0.relayRttMs)
  slowest_rtt=$(printf '%s\n%s\n' "$slowest_rtt" "${rtt/null/0}" | sort -g | tail -1)
  for transfer in "download$i" "upload$i"; do
    exit_status "$transfer" 30
    [ "$status" = 0 ] || fail "switch $i: $transfer ends well"
  done
  [ "$(tool wait --log "$dir/download$i.out" --where event=done --print sha256)" = "$hash" ] || fail "switch $i: the download's bytes"
  [ "$(tool wait --log "$dir/upload$i.out" --where event=done --print answer.sha256)" = "$sent_hash" ] || fail "switch $i: the upload's bytes"
  [ "$(wait_agent 2000 sessions.length,sessions.0.handshakes,sessions.0.migrations)" = "1	1	1" ] || fail "switch $i: one session, one handshake, one move"
  note "download, at the switch" "$dir/download$i.out" $((at - window_ms / 2))
  note "download, before it" "$dir/download$i.out" $((at - window_ms * 3 / 2))
  note "upload, at the switch" "$dir/service.out" $((at - window_ms / 2))
  note "upload, before it" "$dir/service.out" $((at - window_ms * 3 / 2))
  stop agent
done
ok "$switches switches, $((switches * size)) bytes each way, each once; one handshake each; round trip over the relay: $slowest_rtt ms at most"

# percentiles NAME: of numbers on standard input, one a line.
percentiles() {
  sort -g | awk -v name="$1" '{ x[NR] = $1 } END {
    p95 = int(NR * 0.95); if (p95 < NR * 0.95) p95++
    printf "%-24s %4d times, p50 %5.1f ms, p95 %5.1f ms, longest %5.1f ms\n", name, NR, x[int((NR + 1) / 2)], x[p95], x[NR] }'
}

for name in "download, at the switch" "download, before it" "upload, at the switch" "upload, before it"; do
  tr ' ' '\n' <<<"${silences[$name]% }" | percentiles "$name"
done
if [ -n "${ADIT_BENCH_RAW:-}" ]; then
  for name in "${!silences[@]}"; do echo "$name: ${silences[$name]}"; done >>"$ADIT_BENCH_RAW"
fi
