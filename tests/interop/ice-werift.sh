#!/usr/bin/env bash
# Meets werift-ice (npm ci in this directory) in both roles, and with both sides claiming the same one.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
[ -d "$here/node_modules/werift-ice" ] || skip "werift-ice is not installed: npm ci in tests/interop"
meet werift-ice node "$here/peers/werift.mjs"
