#!/usr/bin/env bash
# Meets aioice (Debian: python3-aioice) in both roles, and with both sides claiming the same one.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
python=/usr/bin/python3
"$python" -c "import aioice" 2>/dev/null || skip "python3-aioice is not installed"
meet aioice "$python" "$here/peers/peer_aioice.py"
