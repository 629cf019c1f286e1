#!/usr/bin/env bash
# bench/switches.sh [SESSIONS]: how long a download pauses when its path changes, measured by the application that downloads.
# Each session (20 of them) runs in a namespace of its own and sees both: the planned change from the relay to the direct path, and the
# unplanned one back, when the direct path goes silent both ways. A new session each time, because one whose path dies again and
# again waits longer and longer before it trusts that path.
. "$(dirname "$0")/../tests/e2e/lib.sh"
begin "$@"

sessions=${1:-20}
rate=4000000
file=$(make_file served $((rate * 3)))
hash=$(hash_of "$file")
start_intermediate
start_service "$file" "$rate"
start_connector "$(agent_id)"

planned=()
unplanned=()

# changed TO SINCE: when the agent said that the path is TO, ms.
changed() {
  epoch_of "$(tool wait --log "$dir/agent.log" --since "$2" --where event=path-changed --where "to=$1" --timeout 10000 --print time)"
}

for ((i = 1; i <= sessions; i++)); do
  begun=$(now_ms)
  start_tool "download$i" get --url "http://$local_address/file" --connect-for 10000 --timeout 30000
  start_agent
  direct=$(changed direct "$begun")
  tool wait --log "$dir/download$i.out" --where event=progress --where "bytes>=$rate" --timeout 10000 >/dev/null
  cut=$(now_ms)
  cut_path
  changed relay "$cut" >/dev/null
  exit_status "download$i" 30
  equal "session $i: the download is complete, and its bytes are right" \
    "$(tool wait --log "$dir/download$i.out" --where event=done --print sha256)" "$hash"
  planned+=("$direct")
  unplanned+=("$cut")
  stop agent
  mend_path
done

# pauses BEFORE AFTER TIME...: the longest silence of each session's download around its time, ms, sorted.
pauses() {
  local before=$1 after=$2 i=0 at
  for at in "${@:3}"; do
    i=$((i + 1))
    tool gap --log "$dir/download$i.out" --from $((at - before)) --to $((at + after)) | sed 's/.*"ms":\([0-9.]*\).*/\1/'
  done | sort -n
}

# percentiles NAME: of the sorted numbers on standard input.
percentiles() {
  awk -v name="$1" '{ x[NR] = $1 } END {
    p95 = int(NR * 0.95); if (p95 < NR * 0.95) p95++
    printf "%s: %d times, p50 %s ms, p95 %s ms, longest %s ms\n", name, NR, x[int((NR + 1) / 2)], x[p95], x[NR] }'
}

pauses 0 800 "${unplanned[@]}" | percentiles "cut, direct to relay"
pauses 100 100 "${planned[@]}" | percentiles "planned, relay to direct"
