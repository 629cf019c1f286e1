#!/usr/bin/env bash
# Meets Chromium (Debian: chromium-headless-shell or chromium) in both roles, over UDP, over TCP alone, and with mDNS names. Judged at
# ICE connected.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_chromium
export ICE_ONLY=1
udp() { meet chromium node "$here/peers/chromium.mjs"; }
# It connects over TCP (RFC 6544) and does not listen.
tcp() { ICE_TCP=ours-passive meet chromium-tcp node "$here/peers/chromium.mjs"; }
# Its addresses are behind names of mDNS, as they are by default.
mdns() { ICE_MDNS=1 CHROMIUM_MDNS=1 meet chromium-mdns node "$here/peers/chromium.mjs"; }
together udp tcp mdns
