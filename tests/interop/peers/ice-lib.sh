# What the ice-*.sh scripts share. Each meets one foreign implementation, in a network namespace of its own with one private
# address and a process namespace whose end ends whatever a peer started, and ends with a line that counts:
# `N passed, N failed[, N skipped]`.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$here/../.." && pwd)

# skip REASON: the peer is not here.
skip() {
  echo "SKIP $(basename "$0"): $1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}

namespace="unshare -rn --pid --fork --kill-child --mount-proc"
$namespace true 2>/dev/null || skip "no namespaces here ($namespace)"

need_built() {
  [ -f "$root/packages/ice/dist/src/index.js" ] || {
    echo "not built: npx tsc -b packages/ice" >&2
    exit 1
  }
}

# meet NAME COMMAND...: runs the meetings with the peer that COMMAND starts, in a namespace where 10.77.0.1 is the only address.
meet() {
  need_built
  in_namespace timeout --kill-after=5 100 node "$here/ice-meet.mjs" "$@"
}

# meet_relayed "TRANSPORT..." NAME COMMAND...: the same, and the peer has no way but a relay: an adit-intermediate at 10.77.0.2.
meet_relayed() {
  need_built
  local transports=$1
  shift
  # shellcheck disable=SC2016 # that shell's words
  ICE_TURN="10.77.0.2:3478 user secret $transports" in_namespace bash -ec '
    ip addr add 10.77.0.2/24 dev adit1
    dir=$(mktemp -d)
    "$0/node_modules/.bin/adit-intermediate" --listen 10.77.0.2:4433 --stun 10.77.0.2:3478 --state-dir "$dir/state" \
      --allow-private-relay --turn-user user:secret --log json 2>"$dir/log" &
    server=$!
    trap "kill $server; wait $server; rm -rf $dir" EXIT
    for _ in $(seq 150); do grep -q "\"service\":\"admin\"" "$dir/log" && break; sleep 0.1; done
    timeout --kill-after=5 100 node "$@" || { tail -n 20 "$dir/log"; echo "0 passed, 1 failed"; exit 1; }
  ' "$root" "$here/ice-meet.mjs" "$@"
}

# together FUNCTION...: each at the same time; the last line counts what all of them did.
together() {
  local one outputs
  outputs=$(
    for one in "$@"; do "$one" 2>&1 & done
    wait
  )
  printf '%s\n' "$outputs" | grep -vE '^[0-9]+ passed, [0-9]+ failed$'
  printf '%s\n' "$outputs" | awk -v scripts=$# '
    /^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3; counted++ }
    END { failed += scripts - counted; print passed + 0 " passed, " failed + 0 " failed"; exit failed > 0 }'
}

# in_namespace COMMAND...: where 10.77.0.1 is the only address. The shell stays, as the first process there: it buries orphans.
in_namespace() {
  # shellcheck disable=SC2016 # that shell's words
  $namespace bash -ec '
    ip link set lo up
    ip link add adit0 type veth peer name adit1
    ip addr add 10.77.0.1/24 dev adit0
    ip link set adit0 up
    ip link set adit1 up
    ip route add default via 10.77.0.254
    "$@"
    exit 0
  ' in_namespace "$@"
}

# need_PEER: skips what is not installed.
need_werift() { [ -d "$here/node_modules/werift-ice" ] || skip "werift-ice is not installed: npm ci in tests/interop"; }
need_node_datachannel() { [ -d "$here/node_modules/node-datachannel" ] || skip "node-datachannel is not installed: npm ci in tests/interop"; }
need_aioice() { /usr/bin/python3 -c "import aioice" 2>/dev/null || skip "python3-aioice is not installed"; }
need_chromium() {
  CHROMIUM=$(command -v chromium-headless-shell || command -v chromium) || skip "neither chromium-headless-shell nor chromium is installed"
  export CHROMIUM
}
