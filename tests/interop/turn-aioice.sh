#!/usr/bin/env bash
# adit-intermediate as the TURN server of aioice, over UDP and TCP.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_aioice
meet_relayed "udp tcp" aioice /usr/bin/python3 "$here/peers/peer_aioice.py"
