#!/usr/bin/env bash
# bench/switches.sh [SESSIONS]: how long the bytes pause when the direct path dies, measured by who receives them. (Planned switches have
# bench/planned-switches.sh.) Each session (27 of them) runs a download, an upload, or both at once, and its direct path goes silent both ways,
# or in one direction only, so that it goes back to the relay. A new session each time, because one whose path dies again and again waits
# longer and longer before it trusts that path. Every byte is checked.
. "$(dirname "$0")/../tests/e2e/lib.sh"
begin "$@"

sessions=${1:-27}
rate=4000000
size=$((rate * 2))
file=$(make_file served "$size")
hash=$(hash_of "$file")
# Nothing slows an upload down: it has to be large to be under way still when the path is cut.
sent_size=80000000
sent=$(make_file sent "$sent_size")
sent_hash=$(hash_of "$sent")
start_intermediate
start_service "$file" "$rate"
start_connector "$(agent_id)"

cuts=(both up down)
loads=(both download upload)
moved=0 # bytes
declare -A pauses=() # by kind of change

# changed TO SINCE: when the agent said that the path is TO, ms.
changed() {
  epoch_of "$(tool wait --log "$dir/agent.log" --since "$2" --where event=path-changed --where "to=$1" --timeout 10000 --print time)"
}

# note KIND LOG FROM TO: the longest silence in LOG within that time.
note() {
  pauses[$1]+="$(tool gap --log "$2" --from "$3" --to "$4" | sed 's/.*"ms":\([0-9.]*\).*/\1/') "
}

for ((i = 0; i < sessions; i++)); do
  cut=${cuts[i % 3]}
  load=${loads[i / 3 % 3]}
  begun=$(now_ms)
  if [ "$load" != upload ]; then
    start_tool "download$i" get --url "http://$local_address/file" --connect-for 10000 --timeout 30000
  fi
  if [ "$load" != download ]; then
    start_tool "upload$i" put --url "http://$local_address/sink" --file "$sent" --connect-for 10000 --timeout 30000
  fi
  start_agent
  changed direct "$begun" >/dev/null
  if [ "$load" != download ]; then
    tool wait --log "$dir/service.out" --since "$begun" --where event=sink-progress --where "bytes>=4000000" --timeout 10000 >/dev/null
  fi
  if [ "$load" = download ]; then
    tool wait --log "$dir/download$i.out" --where event=progress --where "bytes>=$((rate / 2))" --timeout 10000 >/dev/null
  fi
  at=$(now_ms)
  cut_path "$cut"
  changed relay "$at" >/dev/null
  if [ "$load" != upload ]; then
    exit_status "download$i" 30
    [ "$(tool wait --log "$dir/download$i.out" --where event=done --print sha256)" = "$hash" ] || fail "session $i: the download's bytes"
    moved=$((moved + size))
    note "cut $cut" "$dir/download$i.out" "$at" $((at + 800))
  fi
  if [ "$load" != download ]; then
    exit_status "upload$i" 30
    [ "$(tool wait --log "$dir/upload$i.out" --where event=done --print answer.sha256)" = "$sent_hash" ] || fail "session $i: the upload's bytes"
    moved=$((moved + sent_size))
    note "cut $cut" "$dir/service.out" "$at" $((at + 800))
  fi
  equal "session $i ($load, cut $cut): one handshake" "$(wait_agent 2000 sessions.length,sessions.0.handshakes)" "1	1"
  stop agent
  mend_path
done

# percentiles NAME: of numbers on standard input, one a line.
percentiles() {
  sort -n | awk -v name="$1" '{ x[NR] = $1 } END {
    p95 = int(NR * 0.95); if (p95 < NR * 0.95) p95++
    printf "%s: %d times, p50 %s ms, p95 %s ms, longest %s ms\n", name, NR, x[int((NR + 1) / 2)], x[p95], x[NR] }'
}

for kind in "cut both" "cut up" "cut down"; do
  [ -z "${pauses[$kind]:-}" ] || tr ' ' '\n' <<<"${pauses[$kind]% }" | percentiles "$kind"
done
echo "$moved bytes, each once"
