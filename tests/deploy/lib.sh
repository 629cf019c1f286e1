# shellcheck shell=bash
# What the tests of deploy/ share. They source it, then `check` one thing after the other; the last line counts.
set -euo pipefail
# shellcheck disable=SC2034 # for those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=$(mktemp -d)
passed=0
failed=0
skipped=0

# What a test started it ends in `cleanup`, which it may define.
finish() {
  if declare -F cleanup >/dev/null; then cleanup; fi
  rm -rf "$dir"
  if [ "$skipped" -gt 0 ]; then skipped=", $skipped skipped"; else skipped=; fi
  echo "$passed passed, $failed failed$skipped"
  [ "$failed" = 0 ]
}
trap finish EXIT

# check WHAT COMMAND...
check() {
  local what=$1
  shift
  if "$@" >"$dir/said" 2>&1; then
    passed=$((passed + 1))
    echo "ok - $what"
  else
    failed=$((failed + 1))
    echo "not ok - $what"
    sed 's/^/  /' "$dir/said"
  fi
}

skip() {
  skipped=$((skipped + 1))
  echo "skipped - $1"
}

# listener SERVICE LOG: where the program that writes the log (JSON lines) listens for it.
listener() { sed -n "s/.*\"service\":\"$1\",\"address\":\"\([^\"]*\)\".*/\1/p" "$2" | tail -n 1; }

get() { node -e 'fetch(process.argv[1]).then(async (r) => { process.stdout.write(await r.text()); process.exit(r.ok ? 0 : 1) })' "$1"; }
