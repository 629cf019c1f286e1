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

"$bin/adit-agent" ping "${to[@]}" --until-direct >"$dir/ping.out" 2>"$dir/ping.log" || fail "ping --until-direct: exit status 0"
ok "ping --until-direct: $(tail -n 1 "$dir/ping.out")"
cut_path
status=0
"$bin/adit-agent" ping "${to[@]}" -c 2 --until-direct >"$dir/ping.out" 2>"$dir/ping.log" || status=$?
equal "ping --until-direct over a cut path: exit status 1" "$status" 1
check "ping: it says relay" grep -qi relay "$dir/ping.out"
