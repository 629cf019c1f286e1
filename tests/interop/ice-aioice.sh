#!/usr/bin/env bash
# Meets aioice (Debian: python3-aioice) in both roles, and with both sides claiming the same one.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_aioice
meet aioice /usr/bin/python3 "$here/peers/peer_aioice.py"
