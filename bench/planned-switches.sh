#!/usr/bin/env bash
# bench/planned-switches.sh [SWITCHES] [BYTES]: how long the bytes pause when a session moves from the relay to the direct path while a download
# and an upload of BYTES each (10 MB) go on, measured by who receives them. A new session for each switch (50, so that 500 MB go each way): the direct
# path is blocked until both are under way. Every byte is checked, on the TCP connection that it began on. Beside each pause stands the longest silence
# of as long a time before the switch: what this machine does by itself. The aim, at p95: the slower path's round trip + 20 ms.
. "$(dirname "$0")/../tests/e2e/lib.sh"
begin "$@"

switches=${1:-50}
size=${2:-10000000}
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
rtts='' # over the relay, with all that is going on, one for each switch
slack_ms=20

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
  # Nothing is started while the session moves: a process that comes up takes one of the cores for longer than a switch does.
  for transfer in "download$i" "upload$i"; do
    exit_status "$transfer" 30
    [ "$status" = 0 ] || fail "switch $i: $transfer ends well"
  done
  [ "$(tool wait --log "$dir/download$i.out" --where event=done --print sha256)" = "$hash" ] || fail "switch $i: the download's bytes"
  [ "$(tool wait --log "$dir/upload$i.out" --where event=done --print answer.sha256)" = "$sent_hash" ] || fail "switch $i: the upload's bytes"
  [ "$(wait_agent 2000 sessions.length,sessions.0.handshakes,sessions.0.migrations)" = "1	1	1" ] || fail "switch $i: one session, one handshake, one move"
  moved=(--log "$dir/agent.log" --since "$begun" --where event=path-changed --where to=direct)
  at=$(epoch_of "$(tool wait "${moved[@]}" --print time)")
  [[ $(tool wait "${moved[@]}" --print reason) =~ relay\ ([0-9.]+)\ ms ]] || fail "switch $i: says the relay's round trip"
  rtts+="${BASH_REMATCH[1]} "
  over=$(tool wait --log "$dir/download$i.out" --where event=done --print time)
  [ "${over%.*}" -gt "$at" ] || fail "switch $i: the download was under way"
  note "download, at the switch" "$dir/download$i.out" $((at - window_ms / 2))
  note "download, before it" "$dir/download$i.out" $((at - window_ms * 3 / 2))
  note "upload, at the switch" "$dir/service.out" $((at - window_ms / 2))
  note "upload, before it" "$dir/service.out" $((at - window_ms * 3 / 2))
  stop agent
done
ok "$switches switches, $((switches * size)) bytes each way, each once; one handshake each"

# percentile N: of numbers on standard input, separated by spaces.
percentile() {
  tr ' ' '\n' | grep -v -e '^$' -e null | sort -g | awk -v n="$1" '{ x[NR] = $1 } END { at = int((NR * n + 99) / 100); print x[at < 1 ? 1 : at] }'
}

rtt=$(percentile 50 <<<"$rtts")
printf '%-24s p50 %5.1f ms, p95 %5.1f ms, longest %5.1f ms\n' "round trip, relay" "$rtt" "$(percentile 95 <<<"$rtts")" "$(percentile 100 <<<"$rtts")"
for name in "download, at the switch" "download, before it" "upload, at the switch" "upload, before it"; do
  p95=$(percentile 95 <<<"${silences[$name]}")
  verdict=''
  if [[ $name == *"at the switch" ]]; then
    verdict=$(awk -v p95="$p95" -v aim="$rtt" -v slack="$slack_ms" \
      'BEGIN { aim += slack; printf "%s the aim of %.1f ms", p95 <= aim ? "within" : "missed", aim }')
  fi
  printf '%-24s p50 %5.1f ms, p95 %5.1f ms, longest %5.1f ms  %s\n' "$name" "$(percentile 50 <<<"${silences[$name]}")" "$p95" \
    "$(percentile 100 <<<"${silences[$name]}")" "$verdict"
done
if [ -n "${ADIT_BENCH_RAW:-}" ]; then
  { for name in "${!silences[@]}"; do echo "$name: ${silences[$name]}"; done; echo "round trip, relay: $rtts"; } >>"$ADIT_BENCH_RAW"
fi
