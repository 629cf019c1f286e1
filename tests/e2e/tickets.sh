#!/usr/bin/env bash
# A ticket lets in whom no list names: one string in place of --intermediate, --to NAME and --allow.
. "$(dirname "$0")/lib.sh"
begin "$@"

start_intermediate
served=$(make_file served 100000)
start_service "$served"
# Nobody is on its list.
start_connector "" --expose ssh=tcp://127.0.0.1:9
tool wait --log "$dir/connector.log" --where event=registered --timeout 10000 >/dev/null

issue() { "$bin/adit-connector" ticket --state-dir "$dir/connector" "$@"; }
# forward STATE_DIR TICKET LOCAL...: the words of an agent that knows nothing but the ticket.
forward() {
  echo "$bin/adit-agent" forward --to "$2" --bind "$agent_ip" --admin 127.0.0.1:0 --state-dir "$dir/$1" --log json --local "${@:3}"
}
# refused WHAT STATUS PATTERN PROGRAM...
refused() {
  local name=${1// /-}
  start "$name" "${@:4}"
  exit_status "$name" 20
  equal "$1: exit status $2" "$status" "$2"
  check "$1: it says /$3/" says "$name" "$3"
}

ticket=$(issue --service web --expires 1h)
check "the ticket is one word, adit1 and base32" grep -Eqx 'adit1[a-z2-7]+' <<<"$ticket"
# shellcheck disable=SC2046 # words
start agent $(forward agent "$ticket" 127.0.0.2:9000=web)
start_tool get get --url http://127.0.0.2:9000/hello --connect-for 10000 --timeout 10000
exit_status get 15
equal "the ticket's holder gets through" "$status" 0
check "the connector's log says that a ticket did it" grep -q '"event":"ticket-accepted"' "$dir/connector.log"
# shellcheck disable=SC2016 # the inner shell expands it
check "no part of the seed is in anybody's log" bash -c '! grep -q -- "$1" "${@:2}"' - "${ticket: -40}" "$dir"/*.log
stop agent INT

issued=$(date +%s)
short=$(issue --expires 1s)
# shellcheck disable=SC2046
{
  refused "another service" 3 "does not open ssh; it opens web" $(forward agent "$ticket" 127.0.0.2:9001=ssh)
  refused "another service over UDP" 3 "does not open ssh; it opens web" $(forward agent "$ticket" udp:127.0.0.2:9002=ssh)
  refused "a damaged ticket" 2 "cut short or altered" $(forward agent "${ticket::-9}" 127.0.0.2:9003=web)
  until [ "$(date +%s)" -gt $((issued + 1)) ]; do read -rt 0.1 <> <(:) || :; done # its time runs out
  refused "an expired ticket" 3 "the ticket expired at" $(forward agent "$short" 127.0.0.2:9004=web)
  refused "no ticket and no intermediate" 2 "intermediate.*is missing" \
    "$bin/adit-agent" forward --to office --local 127.0.0.2:9005=web --state-dir "$dir/agent"
}
