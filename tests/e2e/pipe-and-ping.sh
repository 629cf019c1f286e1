#!/usr/bin/env bash
# The agent's two short commands: `pipe` carries stdin and stdout to a service, `ping` measures and tells the path.
. "$(dirname "$0")/lib.sh"
begin "$@"

file=$(make_file served 5000000)
start_intermediate
start_service "$file"
start_connector "$(agent_id)"
to=(--intermediate "$intermediate_address" --to office --bind "$agent_ip" --state-dir "$dir/agent")

printf 'GET /file HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n' >"$dir/request"
"$bin/adit-agent" pipe "${to[@]}" web <"$dir/request" >"$dir/response" 2>"$dir/pipe.log" || fail "pipe: exit status 0: $(cat "$dir/pipe.log")"
ok "pipe: exit status 0 when the service ends the connection"
tail -c 5000000 "$dir/response" >"$dir/body"
equal "pipe: the body arrives whole" "$(hash_of "$dir/body")" "$(hash_of "$file")"
check "pipe: nothing but the service's bytes on stdout" grep -aq '^HTTP/1.1 200' <(head -c 12 "$dir/response")
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
