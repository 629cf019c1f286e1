#!/usr/bin/env bash
# coturn as STUN and TURN server for our client: UDP, TCP, TLS. In a network namespace of its own, on its loopback.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
skip() { echo "SKIP $(basename "$0"): $1"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
if [ -z "${ADIT_INTEROP_INSIDE:-}" ]; then
  command -v turnserver >/dev/null || skip "turnserver is not installed (Debian package coturn)"
  command -v openssl >/dev/null || skip "openssl is not installed"
  unshare -rn true 2>/dev/null || skip "no network namespaces here (unshare -rn)"
  ADIT_INTEROP_INSIDE=1 exec unshare -rn --kill-child bash "$0"
fi
[ -f "$root/packages/ice/dist/src/index.js" ] || { echo "not built: npx tsc -b packages/ice"; exit 1; }
ip link set lo up
dir=$(mktemp -d)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=relay.test \
  -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
turnserver -n -L 127.0.0.1 -L 127.0.0.2 -L ::1 -E 127.0.0.1 -E ::1 --listening-port 3478 --alt-listening-port 3479 --tls-listening-port 5349 \
  --lt-cred-mech --user u:p --realm coturn.test --allow-loopback-peers --no-cli --no-dtls \
  --cert "$dir/cert.pem" --pkey "$dir/key.pem" --pidfile "$dir/pid" --userdb "$dir/db" --log-file stdout \
  >"$dir/log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$dir"' EXIT
for _ in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/5349) 2>/dev/null && break; sleep 0.1; done
timeout 100 node "$here/peers/coturn-client.mjs" "$dir/cert.pem" || { tail -n 20 "$dir/log"; exit 1; }
