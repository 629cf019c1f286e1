# What the ice-*.sh scripts share. Each meets one foreign implementation, in a network namespace of its own with one private
# address, and ends with a line that counts: `N passed, N failed`; or leaves with 77 and the reason when it cannot run here.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$here/../.." && pwd)

# skip REASON: the peer is not here.
skip() {
  echo "SKIP $(basename "$0"): $1"
  exit 77
}

unshare -rn true 2>/dev/null || skip "no network namespaces here (unshare -rn)"

need_built() {
  [ -f "$root/packages/ice/dist/src/index.js" ] || {
    echo "not built: npx tsc -b packages/ice" >&2
    exit 1
  }
}

# meet NAME COMMAND...: runs the meetings with the peer that COMMAND starts, in a namespace where 10.77.0.1 is the only address.
meet() {
  need_built
  unshare -rn --kill-child bash -ec '
    ip link set lo up
    ip link add adit0 type veth peer name adit1
    ip addr add 10.77.0.1/24 dev adit0
    ip link set adit0 up
    ip link set adit1 up
    ip route add default via 10.77.0.2
    exec timeout --kill-after=5 100 node "$0" "$@"
  ' "$here/ice-meet.mjs" "$@"
}
