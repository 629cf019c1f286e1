#!/usr/bin/env bash
# adit-intermediate as the TURN server of werift-ice, over UDP and TCP.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_werift
meet_relayed "udp tcp" werift-ice node "$here/peers/werift.mjs"
