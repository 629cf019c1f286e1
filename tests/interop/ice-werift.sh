#!/usr/bin/env bash
# Meets werift-ice (npm ci in this directory) in both roles, and with both sides claiming the same one.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_werift
meet werift-ice node "$here/peers/werift.mjs"
