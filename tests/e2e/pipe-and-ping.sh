#!/usr/bin/env bash
# The agent's two short commands: `pipe` carries stdin and stdout to a service, `ping` measures and tells the path.
. "$(dirname "$0")/lib.sh"
begin "$@"

file=$(make_file served 5000000)
start_intermediate
start_tool sum sum --listen 127.0.0.1:8081
tool wait --log "$dir/sum.out" --where event=listening >/dev/null
start_connector "$(agent_id)" --expose sum=tcp://127.0.0.1:8081
to=(--intermediate "$intermediate_address" --to office --bind "$agent_ip" --state-dir "$dir/agent")

# The service answers when it has read to the end: the end of stdin has to reach it, and the way back stays open.
"$bin/adit-agent" pipe "${to[@]}" sum <"$file" >"$dir/pipe.out" 2>"$dir/pipe.log" || fail "pipe: exit status 0: $(cat "$dir/pipe.log")"
equal "pipe: the end of stdin reaches the service, and its answer comes back" "$(cat "$dir/pipe.out")" "5000000 $(hash_of "$file")"
status=0
"$bin/adit-agent" pipe "${to[@]}" nosuch </dev/null >"$dir/pipe.out" 2>>"$dir/pipe.log" || status=$?
equal "pipe: an unknown service: exit status 3" "$status" 3
check "pipe: an unknown service is named" grep -q nosuch "$dir/pipe.log"

# ssh sends SIGHUP to its ProxyCommand and does not wait for it: the next ssh comes at once.
mkfifo "$dir/stdin"
exec {open_end}<>"$dir/stdin"
"$bin/adit-agent" pipe "${to[@]}" sum <"$dir/stdin" >/dev/null 2>>"$dir/pipe.log" {open_end}>&- &
pipe=$!
remember_pid "$pipe"
session=$(wait_status "http://$connector_admin/status" 5000 sessions.0.id sessions.length=1 "sessions.0.path~relay|direct")
kill -HUP "$pipe"
"$bin/adit-agent" pipe "${to[@]}" sum <"$file" >"$dir/pipe.out" 2>>"$dir/pipe.log" || fail "pipe behind a pipe that ends: $(cat "$dir/pipe.log")"
equal "pipe: one that comes while another one ends waits for it" "$(cat "$dir/pipe.out")" "5000000 $(hash_of "$file")"
status=0
wait "$pipe" || status=$?
equal "pipe: SIGHUP is a clean end" "$status" 0
tool wait --log "$dir/connector.log" --where event=session-end --where "session=$session" --where "reason~agent is ending" --timeout 5000 >/dev/null ||
  fail "pipe: the connector hears of it at once"
ok "pipe: the connector hears of it at once"
exec {open_end}>&-

"$bin/adit-agent" ping "${to[@]}" --until-direct >"$dir/ping.out" 2>"$dir/ping.log" || fail "ping --until-direct: exit status 0"
ok "ping --until-direct: $(grep '^pong' "$dir/ping.out" | tail -n 1)"

"$bin/adit-agent" ping "${to[@]}" >"$dir/ping.out" 2>"$dir/ping.log" &
ping=$!
remember_pid "$ping"
for _ in $(seq 100); do
  grep -q '^pong' "$dir/ping.out" && break
  sleep 0.05
done
kill -INT "$ping"
status=0
wait "$ping" || status=$?
equal "ping: SIGINT is a clean end" "$status" 0
check "ping: it says last how it was: $(tail -n 1 "$dir/ping.out")" grep -qE '^[0-9]+ pings, [1-9][0-9]* pongs, 0 % lost, min/avg/max [0-9]+/[0-9]+/[0-9]+ ms$' "$dir/ping.out"
cut_path
status=0
"$bin/adit-agent" ping "${to[@]}" -c 2 --until-direct >"$dir/ping.out" 2>"$dir/ping.log" || status=$?
equal "ping --until-direct over a cut path: exit status 1" "$status" 1
check "ping: it says relay" grep -qi relay "$dir/ping.out"
