#!/usr/bin/env bash
# What deploy/ says, held against the tools that will read it: promtool and systemd-analyze where they are installed. Where promtool is
# not, it is taken out of Debian's package of prometheus (19 MB), without installing that.
# With --install (root, a minute) also the steps of the Containerfile in a clean directory, and the program that comes out of them.
# shellcheck source=tests/deploy/lib.sh
. "$(dirname "$0")/lib.sh"
program=

cleanup() {
  if [ -n "$program" ]; then
    kill -KILL "$program" 2>/dev/null || true
    wait "$program" 2>/dev/null || true # it holds the mount
  fi
  if mountpoint -q "$dir/adit"; then umount --lazy "$dir/adit"; fi
}

# instruction NAME TREE: the JSON list behind the last NAME of the Containerfile, one element a line, with TREE for /opt/adit.
instruction() {
  sed -n "s/^$1.*\(\[.*\]\)\$/\1/p" "$root/deploy/container/Containerfile" | tail -n 1 |
    node -e 'console.log(JSON.parse(require("node:fs").readFileSync(0, "utf8")).join("\n"))' |
    sed "s|^/opt/adit|$2|;s|^/state|$dir/state|"
}

# start COMMAND...: runs it until it says where the admin address is.
start() {
  "$@" >"$dir/out" 2>"$dir/log" &
  program=$!
  for _ in $(seq 100); do
    admin=$(listener admin "$dir/log")
    [ -z "$admin" ] || return 0
    kill -0 "$program" 2>/dev/null || break
    sleep 0.1
  done
  cat "$dir/log"
  return 1
}

# stop: SIGTERM; succeeds when the program ends by itself with status 0 within 5 s.
stop() {
  local status=0 killer
  kill -TERM "$program"
  (sleep 5 && kill -KILL "$program" 2>/dev/null) &
  killer=$!
  wait "$program" || status=$?
  kill "$killer" 2>/dev/null || true
  program=
  return "$status"
}

loopback=(--listen 127.0.0.1:0 --stun 127.0.0.1:0 --admin 127.0.0.1:0 --relay-ports 30000-30100 --log json)

# Prints where promtool is.
find_promtool() {
  command -v promtool && return
  command -v apt-get >/dev/null || return
  mkdir "$dir/prometheus"
  (
    cd "$dir/prometheus"
    apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }
    dpkg-deb --fsys-tarfile prometheus*.deb | tar -x ./usr/bin/promtool
  ) >&2 && echo "$dir/prometheus/usr/bin/promtool"
}

# dashboard_rules FILE: the queries of the dashboard as recording rules, as Grafana asks them.
dashboard_rules() {
  # shellcheck disable=SC2016 # it is JavaScript that has the dollars
  node -e '
    const { panels } = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
    const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const asked = queries.map((expr) => expr.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*"));
    const rules = asked.map((expr, i) => ({ record: `query_${i}`, expr }));
    console.log(JSON.stringify({ groups: [{ name: "dashboard", rules }] }));' "$1"
}

if promtool=$(find_promtool 2>"$dir/said"); then
  check "the alert rules" "$promtool" check rules "$root/deploy/prometheus/alerts.yml"
  check "the alerts fire when they should" "$promtool" test rules "$root/tests/deploy/alerts.test.yml"
  dashboard_rules "$root/deploy/grafana/adit-intermediate.json" >"$dir/dashboard.yml"
  check "the queries of the dashboard" "$promtool" check rules "$dir/dashboard.yml"
  check "the intermediate starts" start "$root/node_modules/.bin/adit-intermediate" "${loopback[@]}" --state-dir "$dir/plain"
  get "http://$admin/metrics" >"$dir/metrics"
  check "the metrics" "$promtool" check metrics <"$dir/metrics"
  check "it ends on SIGTERM" stop
else
  skip "rules and metrics: promtool is not installed, nor can Debian's package prometheus be had: $(tail -n 1 "$dir/said")"
fi

if command -v systemd-analyze >/dev/null; then
  for unit in "$root"/deploy/systemd/*.service; do
    name=$(basename "$unit")
    # The paths and the account of the host that it is for are not here.
    sed "s|/opt/adit|$root|g;s/^User=.*/User=root/;s/^Group=.*/Group=root/" "$unit" >"$dir/$name"
    check "the systemd unit $name" systemd-analyze verify --man=no "$dir/$name"
    check "what $name may do beyond its work: exposure 2.5 of 10 at most" systemd-analyze security --offline=true --threshold=25 "$unit"
  done
else
  skip "the systemd units: systemd-analyze is not installed (Debian: systemd)"
fi

if [ "${1:-}" = --install ]; then
  uid=$(sed -n 's/.*--uid \([0-9]*\).*/\1/p' "$root/deploy/container/Containerfile")
  mkdir "$dir/adit"
  chmod 755 "$dir"
  git -C "$root" archive HEAD | tar -x -C "$dir/adit"
  check "npm ci, without the tools of development" npm ci --omit=dev --prefix "$dir/adit" --silent
  install -d -o "$uid" -g "$uid" -m 0700 "$dir/state"
  # As --read-only has it.
  mount --bind "$dir/adit" "$dir/adit" && mount -o remount,bind,ro "$dir/adit"
  mapfile -t entry < <(instruction ENTRYPOINT "$dir/adit")
  mapfile -t health < <(instruction HEALTHCHECK "$dir/adit")
  as_user=(setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs env -i "PATH=/usr/bin:/bin")
  check "the entry point runs as uid $uid on a read-only tree" start "${as_user[@]}" "${entry[@]}" "${loopback[@]}"
  check "/healthz answers 200" get "http://$admin/healthz"
  check "the health check" "${as_user[@]}" "${health[@]}" --admin "$admin"
  check "the key is nobody else's" test "$(stat -c %a "$dir/state"/*key* | sort -u)" = 600
  check "it ends on SIGTERM, with status 0" stop
fi
