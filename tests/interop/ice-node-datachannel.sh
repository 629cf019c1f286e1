#!/usr/bin/env bash
# Meets node-datachannel, that is libjuice (npm ci in this directory), in both roles. Judged at ICE connected.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_node_datachannel
ICE_ONLY=1 meet node-datachannel node "$here/peers/node-datachannel.mjs"
