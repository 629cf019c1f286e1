#!/usr/bin/env bash
# coturn's tools against adit-intermediate: turnutils_stunclient, turnutils_natdiscovery, turnutils_uclient in its modes.
# In a network namespace of its own, on its loopback.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
skip() { echo "SKIP $(basename "$0"): $1"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
if [ -z "${ADIT_INTEROP_INSIDE:-}" ]; then
  for tool in turnutils_stunclient turnutils_natdiscovery turnutils_uclient turnutils_peer; do
    command -v "$tool" >/dev/null || skip "$tool is not installed (Debian package coturn)"
  done
  unshare -rn true 2>/dev/null || skip "no network namespaces here (unshare -rn)"
  ADIT_INTEROP_INSIDE=1 exec unshare -rn --kill-child bash "$0"
fi
ip link set lo up
dir=$(mktemp -d)
"$root/node_modules/.bin/adit-intermediate" --listen 127.0.0.1:4433 --stun 127.0.0.1:3478 --stun '[::1]:3478' \
  --stun-tls 127.0.0.1:5349 --stun-tls '[::1]:5349' \
  --alternate-address 127.0.0.2 --state-dir "$dir/state" --allow-private-relay --turn-user u:p --turn-secret shared \
  --log json 2>"$dir/log" &
program=$!
trap 'kill $program 2>/dev/null; rm -rf "$dir"' EXIT
for _ in $(seq 150); do grep -q '"service":"admin"' "$dir/log" && break; sleep 0.1; done
grep -q '"service":"admin"' "$dir/log" || { cat "$dir/log"; echo "0 passed, 1 failed"; exit 1; }

passed=0 failed=0
# check NAME PATTERN COMMAND...: the command ends well, and its output has the pattern.
check() {
  local name=$1 pattern=$2 out status
  shift 2
  out=$(timeout 60 "$@" 2>&1)
  status=$?
  if [ "$status" -eq 0 ] && grep -qE "$pattern" <<<"$out"; then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    echo "not ok $name (exit $status, wanted: $pattern)"
    tail -n 12 <<<"$out" | sed 's/^/    /'
  fi
}

check "stunclient: address, and answers from the other address" "Response origin: : 127.0.0.2:3479" \
  turnutils_stunclient -p 3478 127.0.0.1
check "natdiscovery: mapping" "Endpoint Independent Mapping" turnutils_natdiscovery -m -p 3478 127.0.0.1
check "natdiscovery: filtering" "Endpoint Independent Filtering" turnutils_natdiscovery -f -p 3478 127.0.0.1
check "natdiscovery: filtering, padded" "Endpoint Independent Filtering" turnutils_natdiscovery -f -P -p 3478 127.0.0.1
none_lost='Total lost packets 0 '
# -c: without RTCP's second port; -y: client to client.
server=127.0.0.1
uclient() {
  local name=$1
  shift
  check "uclient: $name" "$none_lost" turnutils_uclient -c -y -u u -w p -n 10 -m 2 -z 5 "$@" "$server"
}
# Over TLS the tool takes one record per wake-up and leaves what came with it lying (it loses as much with coturn's own server): so
# there its messages stand far apart.
for port in "UDP 3478" "TCP 3478 -t" "TLS 5349 -t -S -z 100 -n 5"; do
  read -r name number flags <<<"$port"
  # shellcheck disable=SC2086
  uclient "$name, channels" $flags -p "$number"
  # shellcheck disable=SC2086
  uclient "$name, indications" $flags -s -p "$number"
done
uclient "UDP, channels padded" -D -p 3478
uclient "TCP, 1000 bytes" -t -l 1000 -p 3478
uclient "UDP, IPv4 asked for" -X -p 3478
uclient "UDP, IPv6 relayed addresses" -x -p 3478
uclient "TCP, IPv6 relayed addresses, indications" -t -x -s -p 3478
# Not here: -Z (both families; the tool's ADDITIONAL-ADDRESS-FAMILY has a number of its own, 0x8032 and not RFC 8656's 0x8000), and -R
# (broken messages; the tool waits for answers to them, with coturn's own server too).
uclient "UDP, not to be fragmented" -g -s -p 3478
uclient "UDP, more requests than needed" -G -p 3478
check "uclient: UDP, RTP and RTCP on a reserved port" "$none_lost" \
  turnutils_uclient -y -u u -w p -n 10 -m 2 -z 5 -p 3478 127.0.0.1
uclient "UDP, wrong requests between the right ones" -N -p 3478
server=::1
uclient "over IPv6, IPv6 relayed addresses" -x -p 3478
uclient "over IPv6, IPv4 relayed addresses" -X -p 3478
uclient "over IPv6, TCP, IPv6 relayed addresses" -t -x -p 3478
uclient "over IPv6, TLS, IPv6 relayed addresses" -t -S -z 100 -n 5 -x -p 5349
check "uclient: UDP, 20 clients" "$none_lost" turnutils_uclient -c -y -u u -w p -n 10 -m 20 -z 20 -p 3478 127.0.0.1
check "uclient: TLS, 20 clients" "$none_lost" \
  turnutils_uclient -c -y -u u -w p -t -S -z 100 -n 3 -m 20 -p 5349 127.0.0.1
turnutils_peer -p 3480 -L 127.0.0.1 >/dev/null 2>&1 &
peer=$!
check "uclient: TCP, to a peer that has no relay" "$none_lost" \
  turnutils_uclient -c -e 127.0.0.1 -r 3480 -u u -w p -t -n 10 -m 2 -z 5 -p 3478 127.0.0.1
kill "$peer"
check "uclient: expiring credentials from a shared secret" "$none_lost" \
  turnutils_uclient -c -y -u u -W shared -n 5 -z 5 -p 3478 127.0.0.1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
