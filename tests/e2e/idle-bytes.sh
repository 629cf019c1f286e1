#!/usr/bin/env bash
# What an idle session sends, in bytes an hour, IP and UDP headers counted: once direct with its relay kept warm, once on the relay alone.
#   tests/e2e/idle-bytes.sh [SECONDS]      how long each is watched (300)
. "$(dirname "$0")/lib.sh"
begin "$@"

watched_s=${1:-300}

# Counts what arrives, by whom it is from and to.
count_bytes() {
  nft -f - <<RULES
table inet adit_count {
  chain arriving {
    type filter hook input priority -10; policy accept;
    ip saddr $agent_ip ip daddr $connector_ip meta l4proto udp counter comment "agent to connector"
    ip saddr $connector_ip ip daddr $agent_ip meta l4proto udp counter comment "connector to agent"
    ip saddr $agent_ip udp dport 4433 counter comment "agent to signaling"
    ip daddr $agent_ip udp sport 4433 counter comment "signaling to agent"
    ip saddr $agent_ip udp dport 3478 counter comment "agent to relay"
    ip daddr $agent_ip udp sport 3478 counter comment "relay to agent"
    ip saddr $connector_ip udp dport 4433 counter comment "connector to signaling"
    ip daddr $connector_ip udp sport 4433 counter comment "signaling to connector"
    ip saddr $connector_ip udp dport 3478 counter comment "connector to relay"
    ip daddr $connector_ip udp sport 3478 counter comment "relay to connector"
    ip saddr $agent_ip udp dport 49152-65535 ip daddr 127.0.0.1 counter comment "agent to relayed address"
    ip daddr $agent_ip udp sport 49152-65535 ip saddr 127.0.0.1 counter comment "relayed address to agent"
  }
}
RULES
}

# watch PATH: prints one line for each direction in which anything went.
watch() {
  count_bytes
  sleep "$watched_s"
  nft list table inet adit_count |
    sed -n 's/.*counter packets \([0-9]*\) bytes \([0-9]*\) comment "\(.*\)".*/\1\t\2\t\3/p' |
    awk -F '\t' -v s="$watched_s" -v path="$1" '
      $2 > 0 { printf "# %s: %-28s %8d bytes/hour, %5d packets\n", path, $3, $2 * 3600 / s, $1 * 3600 / s; sum += $2 }
      END { printf "# %s: %-28s %8d bytes/hour\n", path, "all of it", sum * 3600 / s }'
  nft delete table inet adit_count
  equal "$1: still the same path" "$(wait_agent 2000 sessions.0.path,sessions.0.migrations)" "$(printf '%s\t%s' "$1" "$2")"
}

start_intermediate
start_connector "$(agent_id)"
start_agent
wait_agent 10000 sessions.0.path sessions.length=1 sessions.0.path=direct >/dev/null
sleep 20 # traffic and the search for paths are over, idle clocks run
watch direct "$(wait_agent 2000 sessions.0.migrations)"
stop agent
cut_path
start_agent --ice-policy relay
wait_agent 10000 sessions.0.path sessions.length=1 sessions.0.path=relay >/dev/null
sleep 30
watch relay "$(wait_agent 2000 sessions.0.migrations)"
