#!/usr/bin/env bash
# tests/e2e/sleep.sh [SECONDS]: an agent, then a connector, that does not run for longer than the peer's consent lasts (40 s), in the middle of a
# download. SIGSTOP and SIGCONT stand in for a laptop that sleeps: the program's clocks run on, as the wall clock does there. The
# same TCP connection goes on. Not among the scenarios of each run: it takes two minutes.
. "$(dirname "$0")/lib.sh"
begin "$@"

seconds=${1:-40}
rate=2000000
file=$(make_file served $((rate * 8)))
hash=$(hash_of "$file")
start_intermediate
start_service "$file" "$rate"
start_connector "$(agent_id)"
start_agent
wait_agent 10000 sessions.0.path sessions.0.path=direct >/dev/null

for sleeper in agent connector; do
  start_tool "download-$sleeper" get --url "http://$local_address/file" --timeout $(((seconds + 60) * 1000))
  tool wait --log "$dir/download-$sleeper.out" --where event=progress --where "bytes>=$rate" --timeout 10000 >/dev/null
  kill -STOP "${pid_of[$sleeper]}"
  sleep "$seconds"
  before=$(wc -l <"$dir/download-$sleeper.out")
  woken=$(now_ms)
  kill -CONT "${pid_of[$sleeper]}"
  until [ "$(wc -l <"$dir/download-$sleeper.out")" -gt "$before" ] || [ $(($(now_ms) - woken)) -gt 20000 ]; do sleep 0.05; done
  at_most "$sleeper: bytes again $(($(now_ms) - woken)) ms after $seconds s of sleep" $(($(now_ms) - woken)) 5000
  exit_status "download-$sleeper" 60
  equal "$sleeper: the download is complete, on the one TCP connection it began on" \
    "$(tool wait --log "$dir/download-$sleeper.out" --where event=done --print sha256)" "$hash"
  wait_agent 40000 sessions.0.path sessions.0.path=direct >/dev/null
  equal "$sleeper: handshakes: 1 still" "$(wait_agent 2000 sessions.0.handshakes)" 1
done
