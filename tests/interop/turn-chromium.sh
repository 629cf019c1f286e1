#!/usr/bin/env bash
# adit-intermediate as the TURN server of chromium, over UDP and TCP. Judged at ICE connected.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_chromium
ICE_ONLY=1 meet_relayed "udp tcp" chromium node "$here/peers/chromium.mjs"
