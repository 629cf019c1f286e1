#!/usr/bin/env bash
# UDP services: a name server and an echo behind the connector, over the relay and direct and while the path changes between the two;
# datagrams that are too large, many sources, flows that idle, a service that is refused, and one at which nothing answers.
. "$(dirname "$0")/lib.sh"
begin "$@"

dns=127.0.0.1:5300
echo=127.0.0.1:5301
nobody=127.0.0.1:5302
local_dns=127.0.0.2:5353
local_echo=127.0.0.2:7
local_nobody=127.0.0.2:9
local_unknown=127.0.0.2:13

start_udp() {
  local name=$1
  shift
  start "$name" "$bun" "$here/tool/udp.ts" "$@"
  tool wait --log "$dir/$name.out" --where event=listening >/dev/null
}

# udp SUBCOMMAND...: sets $status; what it printed is in $dir/udp.out.
udp() {
  : >"$dir/udp.out"
  start udp "$bun" "$here/tool/udp.ts" "$@"
  exit_status udp 30
}

# A value of the last client's last line.
said() { tool wait --log "$dir/udp.out" --where "event=$1" --print "$2"; }

# How many datagrams one side dropped for a reason, since its start.
dropped() {
  local count
  count=$(wait_status "http://$1/status" 2000 "udp.dropped.$2")
  [ "$count" = undefined ] && count=0
  echo "$count"
}

start_agent_here() {
  start_agent --local "udp:$local_dns=dns" --local "udp:$local_echo=echo" --local "udp:$local_nobody=nobody" \
    --local "udp:$local_unknown=unknown" --udp-idle 2s
}

start_intermediate
start_udp dns dns "$dns"
start_udp echo echo "$echo"
cut_path
start_connector "$(agent_id)" --expose "dns=udp://$dns" --expose "echo=udp://$echo" --expose "nobody=udp://$nobody" --udp-idle 2s
start_agent_here
wait_agent 10000 sessions.0.path sessions.length=1 sessions.0.path=relay >/dev/null

udp ask "$local_dns" adit.test
equal "over the relay: a resolver gets A, TXT and NXDOMAIN from the name server" "$status" 0
udp pound "$local_echo" 500
equal "over the relay: 500 datagrams of mixed sizes come back unchanged ($(said pounded lost) sent again)" "$status" 0

# Direct, found while datagrams flow.
start pounding "$bun" "$here/tool/udp.ts" pound "$local_echo" 3000
mend_path
wait_agent 40000 sessions.0.path sessions.0.path=direct >/dev/null
exit_status pounding 40
equal "from the relay to the direct path: 3,000 datagrams in the meantime, none changed" "$status" 0
udp pound "$local_echo" 1000
equal "direct: 1,000 datagrams of mixed sizes come back unchanged ($(said pounded lost) sent again)" "$status" 0

start pounding "$bun" "$here/tool/udp.ts" pound "$local_echo" 3000
cut_path
wait_agent 10000 sessions.0.path sessions.0.path=relay >/dev/null
exit_status pounding 40
equal "the direct path dies: the same flow goes on over the relay" "$status" 0
mend_path
equal "handshakes: 1" "$(wait_agent 2000 sessions.0.handshakes)" 1

before=$(dropped "$agent_admin" too-large)
udp say "$local_echo" "$(head -c 1460 /dev/zero | tr '\0' x)" 100
equal "a datagram too large for the path gets no answer" "$status" 1
at_least "and is counted by the agent" "$(dropped "$agent_admin" too-large)" $((before + 1))
udp say "$local_echo" "big 1460" 100
equal "neither does an answer that is too large" "$status" 1
at_least "which is counted by the connector" "$(dropped "$connector_admin" too-large)" 1
"$bin/adit-agent" status --admin "$agent_admin" >"$dir/words"
check "status says it in words" grep -Eq 'too large for the path \(at most 1[0-9]{3} bytes\)' "$dir/words"

udp many "$local_echo" 100
equal "100 local sources at once are answered each on its own" "$status" 0
at_least "each has its socket at the service" "$(grep -c '"event":"source"' "$dir/echo.out")" 100
wait_agent 8000 udp.flows udp.flows=0 >/dev/null
wait_status "http://$connector_admin/status" 8000 udp.flows udp.flows=0 >/dev/null
ok "idle flows are closed on both sides"
udp say "$local_echo" "again" 3000
equal "a source that comes back has a flow again" "$status" 0

udp say "$local_nobody" "anybody?" 300
equal "a service at which nothing listens gives no answer" "$status" 1
at_least "the connector counts ICMP's word" "$(dropped "$connector_admin" unreachable)" 1
check "and says so" says connector 'nothing takes datagrams at 127.0.0.1:5302'
udp say "$local_unknown" "anybody?" 300
equal "a service that is not exposed gives no answer" "$status" 1
at_least "the agent counts the refusal" "$(dropped "$agent_admin" refused)" 1
check "and says so" says agent 'no service named unknown'
udp say "$local_echo" "still here" 3000
equal "and the others go on" "$status" 0

# A new session: the connector comes back.
stop connector
start_connector "$(agent_id)" --expose "dns=udp://$dns" --expose "echo=udp://$echo" --udp-idle 2s
udp ask "$local_dns" adit.test
equal "after the connector was started anew the resolver gets its answers" "$status" 0
stop agent
equal "the agent ends" "$status" 0

exit_of_refused() {
  local refused=0
  "$bin/adit-agent" forward --intermediate "$intermediate_address" --to office --local "udp:$local_unknown=unknown" --bind "$agent_ip" \
    --admin "$agent_admin" --state-dir "$dir/agent" >"$dir/refused.log" 2>&1 || refused=$?
  echo "$refused"
}
equal "an agent whose only service is not exposed ends: refused" "$(exit_of_refused)" 3
