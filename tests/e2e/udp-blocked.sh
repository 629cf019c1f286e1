#!/usr/bin/env bash
# Networks that block UDP, on the agent's side, on the connector's, on both: signaling goes over TLS, and bytes over TURN/TLS.
# When UDP is back, so is the direct path, without a new session. And a network that lets nothing through but TCP 443.
. "$(dirname "$0")/lib.sh"
begin "$@"

size=5000000
file=$(make_file served "$size")
hash=$(hash_of "$file")

# block_udp ADDRESS...: nothing but TCP reaches these hosts, or comes from them. What was blocked before is not open for a moment in between.
block_udp() {
  nft -f - <<RULES
table inet adit_cut
delete table inet adit_cut
table inet adit_cut {
  set hosts { type ipv4_addr; elements = { $(IFS=, && echo "$*") } }
  chain arriving {
    type filter hook input priority 0; policy accept;
    ip saddr @hosts meta l4proto udp counter drop
    ip daddr @hosts meta l4proto udp counter drop
  }
}
RULES
}

# From the agent nothing reaches the intermediate but TCP to port 443.
leave_tcp_443() {
  block_udp "$agent_ip"
  nft add rule inet adit_cut arriving ip saddr "$agent_ip" ip daddr 127.0.0.1 'tcp dport { 3478, 4433 }' drop
}

unblock_udp() { nft delete table inet adit_cut 2>/dev/null || true; }

# downloads WHAT: the file through the tunnel, and its first byte within 3 s of the agent's start.
downloads() {
  local what=$1 started_at first
  started_at=$(now_ms)
  start_agent
  tool wait --log "$dir/agent.log" --since "$started_at" --where event=listening --timeout 5000 >/dev/null
  rm -f "$dir/get.out"
  start_tool get get --url "http://$local_address/file" --timeout 30000
  exit_status get 40
  equal "$what: downloaded, whole" "$(tool wait --log "$dir/get.out" --where event=done --print sha256)" "$hash"
  first=$(tool wait --log "$dir/get.out" --where event=done --print firstByteMs)
  at_most "$what: the first byte $((${first%.*} - started_at)) ms after the agent was started; 3000 at most" \
    $((${first%.*} - started_at)) 3000
}

# relayed WHAT LOCAL REMOTE TRANSPORT: what the agent's status says.
relayed() {
  equal "$1: relayed, from a $2 to a $3 address, signaling over $4" \
    "$(wait_agent 8000 sessions.0.path,sessions.0.localType,sessions.0.remoteType,intermediates.0.transport)" \
    "relay	$2	$3	$4"
}

# because WHAT REASON
because() {
  wait_agent 12000 sessions.0.reason "sessions.0.reason=no direct path: $2" >/dev/null || fail "$1: the reason is '$2'"
  ok "$1: the status says: $2"
}

start_intermediate --signaling-tls "$intermediate_address" --signaling-tls 127.0.0.1:443
start_service "$file"
start_connector "$(agent_id)"

block_udp "$agent_ip"
downloads "blocked at the agent"
relayed "blocked at the agent" relay relay tls
because "blocked at the agent" "UDP is blocked on this side"
check "blocked at the agent: the status says so in words" \
  grep -q "blocked here" <("$bin/adit-agent" status --admin "$agent_admin")

began=$(now_ms)
unblock_udp
wait_agent 40000 sessions.0.path sessions.0.path=direct >/dev/null
ok "UDP is back: direct after $(($(now_ms) - began)) ms"
wait_agent 40000 intermediates.0.transport intermediates.0.transport=quic >/dev/null
ok "UDP is back: signaling goes over QUIC after $(($(now_ms) - began)) ms"
equal "UDP is back: the same session, with one handshake" "$(wait_agent 2000 sessions.length,sessions.0.handshakes)" "1	1"
stop agent

leave_tcp_443
downloads "only TCP 443"
relayed "only TCP 443" relay relay tls
stop agent

stop connector
block_udp "$agent_ip" "$connector_ip"
start_connector "$(agent_id)"
downloads "blocked on both sides"
relayed "blocked on both sides" relay relay tls
stop agent

block_udp "$connector_ip"
downloads "blocked at the connector"
relayed "blocked at the connector" host relay quic
stop agent
