#!/usr/bin/env bash
# Meets libnice (Debian: gir1.2-nice-0.1), in both roles: over UDP, and over TCP alone (RFC 6544), where it connects and where we do.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
/usr/bin/python3 -c 'import gi; gi.require_version("Nice", "0.1")' 2>/dev/null || skip "libnice is not installed (Debian package gir1.2-nice-0.1)"
udp() { meet libnice /usr/bin/python3 "$here/peers/peer_nice.py"; }
we_listen() { ICE_TCP=ours-passive NICE_TCP=1 meet libnice-tcp /usr/bin/python3 "$here/peers/peer_nice.py"; }
we_connect() { ICE_TCP=ours-active NICE_TCP=1 meet libnice-tcp /usr/bin/python3 "$here/peers/peer_nice.py"; }
together udp we_listen we_connect
