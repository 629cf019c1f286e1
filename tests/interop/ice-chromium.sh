#!/usr/bin/env bash
# Meets Chromium (Debian: chromium-headless-shell or chromium) in both roles. Judged at ICE connected.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_chromium
ICE_ONLY=1 meet chromium node "$here/peers/chromium.mjs"
