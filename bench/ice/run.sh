#!/usr/bin/env bash
# npm run bench:ice [-- RUNS]: the STUN codec, the time to connect and the cost of idle sessions, beside others. No root needed where
# user namespaces are allowed.
set -euo pipefail
cd "$(dirname "$0")/../.."
bun=$PWD/node_modules/.bin/bun
"$bun" bench/ice/stun-codec.ts
echo
# shellcheck disable=SC2016 # that shell's words
unshare -rn bash -ec '
  ip link set lo up
  ip link add adit0 type veth peer name adit1
  ip addr add 10.77.0.1/24 dev adit0
  ip link set adit0 up
  ip link set adit1 up
  ip route add default via 10.77.0.254
  "$0" bench/ice/connect.ts --runs "$1"
  echo
  exec "$0" bench/ice/sessions.ts
' "$bun" "${1:-100}"
