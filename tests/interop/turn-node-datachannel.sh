#!/usr/bin/env bash
# adit-intermediate as the TURN server of node-datachannel, over UDP (libjuice knows no other). Judged at ICE connected.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_node_datachannel
ICE_ONLY=1 meet_relayed "udp" node-datachannel node "$here/peers/node-datachannel.mjs"
