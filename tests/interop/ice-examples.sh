#!/usr/bin/env bash
# Runs what stands in packages/ice/examples: two peers in one process, direct and over a relay; a NAT report; a browser.
set -uo pipefail
. "$(dirname "$0")/peers/ice-lib.sh"
need_chromium
need_built
# shellcheck disable=SC2016 # that shell's words
in_namespace bash -c '
  root=$0
  export PATH="$root/node_modules/.bin:$PATH"
  dir=$(mktemp -d)
  ip addr add 10.77.0.2/24 dev adit1
  adit-intermediate --listen 10.77.0.2:4433 --stun 10.77.0.2:3478 --alternate-address 127.0.0.1 --state-dir "$dir/state" \
    --allow-private-relay --turn-user user:secret --log json 2>"$dir/log" &
  programs=($!)
  trap "kill \${programs[*]} 2>/dev/null; wait; rm -rf $dir" EXIT
  until_said() { for _ in $(seq 150); do grep -q "$1" "$2" && return; sleep 0.1; done; return 1; }
  until_said "\"service\":\"admin\"" "$dir/log" || { cat "$dir/log"; echo "0 passed, 1 failed"; exit 1; }

  passed=0 failed=0
  # check NAME FILE PATTERN...: the file has a line for each pattern.
  check() {
    local name=$1 file=$2 pattern
    shift 2
    for pattern; do
      grep -qE "$pattern" "$file" && continue
      failed=$((failed + 1))
      echo "FAILED $name: nothing like \"$pattern\" in:"
      sed "s/^/    /" "$file"
      return
    done
    passed=$((passed + 1))
    echo "ok $name"
  }
  for runtime in "node dist/examples js" "bun examples ts"; do
    read -r command folder ending <<<"$runtime"
    example() { timeout 30 "$command" "$root/packages/ice/$folder/$1.$ending" "${@:2}" >"$dir/out" 2>&1; }
    example two-peers
    check "two peers on $command" "$dir/out" "bob got \"hello, bob\"" "sends from host"
    example two-peers stun 10.77.0.2:3478 turn 10.77.0.2:3478 user secret
    check "two peers with a relay on $command" "$dir/out" "bob got \"hello, bob\"" "alice: candidate:.* typ relay"
    example nat-report 10.77.0.2:3478
    check "the NAT report on $command" "$dir/out" "NAT +no" "public address +10.77.0" "There is no NAT"
  done
  node "$root/packages/ice/dist/examples/browser.js" 8080 >"$dir/browser" 2>&1 &
  programs+=($!)
  until_said open "$dir/browser"
  "$CHROMIUM" --no-sandbox --disable-gpu --remote-debugging-port=0 --user-data-dir="$dir/profile" http://127.0.0.1:8080/ >"$dir/chromium" 2>&1 &
  programs+=($!)
  until_said connected "$dir/browser"
  check "a browser" "$dir/browser" "^connected to"
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
' "$root"
