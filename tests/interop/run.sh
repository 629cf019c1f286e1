#!/usr/bin/env bash
# Meets implementations that others wrote, over real sockets on loopback: every *.sh beside this one that is a test, or those whose
# name contains the argument. What is not installed is skipped, with the reason; with ADIT_INTEROP_ALL=1 that is a failure. The last
# line: N passed, N failed[, N skipped].
set -uo pipefail
cd "$(dirname "$0")"
passed=0 failed=0 skipped=0
for script in ./*.sh; do
  [ "$script" = ./run.sh ] && continue
  case "$script" in *"${1:-}"*) ;; *) continue ;; esac
  name=$(basename "$script" .sh)
  out=$(timeout 300 bash "$script" 2>&1)
  status=$?
  printf '%s\n' "$out" | sed 's/^/    /'
  # A script counts in its last line: N passed, N failed[, N skipped]. Else its exit status is one case.
  if counts=$(printf '%s\n' "$out" | tail -n 1 | grep -oE '^[0-9]+ passed, [0-9]+ failed'); then
    read -r p _ f _ <<<"${counts//,/}"
    passed=$((passed + p)) failed=$((failed + f))
    s=$(printf '%s\n' "$out" | tail -n 1 | grep -oE '[0-9]+ skipped' | cut -d' ' -f1)
    skipped=$((skipped + ${s:-0}))
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then failed=$((failed + 1)); fi
    echo "$name: $counts"
  elif [ "$status" -eq 0 ]; then
    passed=$((passed + 1))
    echo "$name: ok"
  else
    failed=$((failed + 1))
    echo "$name: FAILED (exit $status)"
  fi
done
if [ -n "${ADIT_INTEROP_ALL:-}" ] && [ "$skipped" -gt 0 ]; then
  echo "something is not installed, and here all of it has to be"
  failed=$((failed + skipped)) skipped=0
fi
if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
[ "$failed" -eq 0 ] && [ "$((passed + skipped))" -gt 0 ]
