#!/usr/bin/env bash
# Meets Chromium (Debian: chromium-headless-shell or chromium) in both roles. Judged at ICE connected.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
CHROMIUM=$(command -v chromium-headless-shell || command -v chromium) || skip "neither chromium-headless-shell nor chromium is installed"
export CHROMIUM
ICE_ONLY=1 meet chromium node "$here/peers/chromium.mjs"
