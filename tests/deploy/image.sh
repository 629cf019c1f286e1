#!/usr/bin/env bash
# The container image: built from the Containerfile, run as its first lines say, with connector and agent of this checkout against it.
#   image.sh [--build-image IMAGE] [--base-image IMAGE]     other images than the Containerfile's own
#   image.sh --debootstrap                                  makes both, from Debian's archive and this host's node: where none can be
#                                                           pulled. Needs root, debootstrap and buildah.
# $PODMAN is the command (podman), $PODMAN_RUN are further options of its `run`. Takes some 20 s once the base images are there.
# shellcheck source=tests/deploy/lib.sh
. "$(dirname "$0")/lib.sh"

read -ra podman <<<"${PODMAN:-podman}"
read -ra more <<<"${PODMAN_RUN:-}"
image=localhost/adit-test:$$
name=adit-test-$$
build=()
others=() # connector and agent, by pid

cleanup() {
  end_others
  "${podman[@]}" rm --force --volumes "$name" >/dev/null 2>&1 || true
  "${podman[@]}" volume rm --force "$name" >/dev/null 2>&1 || true
  "${podman[@]}" rmi --force "$image" >/dev/null 2>&1 || true
}

make_base_images() {
  local container
  debootstrap --variant=minbase bookworm "$dir/debian" >"$dir/debootstrap" || { tail "$dir/debootstrap" && return 1; }
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$dir/debian" /
  buildah commit --quiet "$container" localhost/adit-base
  buildah add --quiet "$container" "$(readlink -f "$(command -v node)")" /usr/local/bin/node
  buildah add --quiet "$container" "$(npm root --global)/npm" /usr/local/lib/node_modules/npm
  buildah run --isolation chroot "$container" -- ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
  if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then
    buildah add --quiet "$container" "$NODE_EXTRA_CA_CERTS" /etc/ssl/extra.pem
    buildah config --env NODE_EXTRA_CA_CERTS=/etc/ssl/extra.pem "$container"
  fi
  buildah commit --quiet "$container" localhost/adit-build
  buildah rm "$container"
}

while [ "$#" -gt 0 ]; do
  case $1 in
    --build-image) build+=(--build-arg "BUILD_IMAGE=$2") && shift 2 ;;
    --base-image) build+=(--build-arg "BASE_IMAGE=$2") && shift 2 ;;
    --debootstrap)
      make_base_images >/dev/null
      build+=(--build-arg BUILD_IMAGE=localhost/adit-build --build-arg BASE_IMAGE=localhost/adit-base)
      shift
      ;;
    *) sed -n '2,6s/^# //p' "$0" >&2 && exit 2 ;;
  esac
done

# run OPTION...: the intermediate, on loopback; $dir/log has what it says. Its health is asked for here, not by a timer.
run() {
  "${podman[@]}" rm --force "$name" >/dev/null 2>&1 || true
  "${podman[@]}" run --detach --name "$name" --network host --read-only --volume "$name:/state" --health-interval disable \
    "${more[@]}" "$image" --listen 127.0.0.1:0 --stun 127.0.0.1:0 --admin 127.0.0.1:0 --relay-ports 30000-30100 \
    --allow-private-relay "$@" || return
  for _ in $(seq 100); do
    "${podman[@]}" logs "$name" >"$dir/log" 2>&1
    admin=$(listener admin "$dir/log")
    [ -z "$admin" ] || return 0
    sleep 0.1
  done
  cat "$dir/log"
  return 1
}

config() { "${podman[@]}" image inspect "$image" --format "{{$1}}"; }
inside() { "${podman[@]}" exec "$name" "$@"; }
is() { [ "$2" = "$1" ] || { echo "\"$2\", expected \"$1\"" && return 1; }; }
fails() { if "$@"; then return 1; fi; }
exit_status() { "${podman[@]}" wait "$name"; }
says() {
  for _ in $(seq 50); do
    "${podman[@]}" logs "$name" 2>&1 | grep -q "\"event\":\"$1\"" && return 0
    sleep 0.1
  done
  "${podman[@]}" logs "$name" && return 1
}
healthy() { inside /opt/adit/node_modules/.bin/adit-intermediate status --check ready --admin "$admin"; }

# The programs of this checkout, each with a state directory of its own.
adit_connector=("$root/node_modules/.bin/adit-connector" --state-dir "$dir/connector" --log json --admin 127.0.0.1:0 --bind 127.0.0.3)
adit_agent=$root/node_modules/.bin/adit-agent
ping=("$adit_agent" ping --state-dir "$dir/agent" --to office --bind 127.0.0.2)

# start_connector LOG
start_connector() {
  : >"$1"
  "${adit_connector[@]}" --intermediate "$signaling" --name office --expose web=tcp://127.0.0.1:9 --allow "$("$adit_agent" id --state-dir "$dir/agent")" 2>"$1" &
  others+=("$!")
  for _ in $(seq 100); do
    grep -q '"event":"registered"' "$1" && return 0
    sleep 0.1
  done
  cat "$1" && return 1
}

end_others() {
  kill "${others[@]}" 2>/dev/null || true
  wait "${others[@]}" || true
  others=()
}

answers() { grep -c '^pong' "$dir/ping" || true; }
answered_since() { [ "$(answers)" -gt "$1" ] || { cat "$dir/ping" "$dir/second" && return 1; }; }

check "it is built" "${podman[@]}" build --format docker "${build[@]}" --ignorefile "$root/deploy/container/Containerfile.dockerignore" \
  -f "$root/deploy/container/Containerfile" -t "$image" "$root"
[ "$failed" = 0 ] || exit 1
echo "# $(($(config .Size) / 1000000)) MB with its base; its own layers: $("${podman[@]}" history "$image" --format '{{.Size}}' | head -n 7 | grep -v '^0 B' | tr '\n' ' ')"
check "it has a user of its own" is adit "$(config .Config.User)"
check "SIGTERM ends it" is SIGTERM "$(config .Config.StopSignal)"
check "/state is a volume" is "map[/state:{}]" "$(config .Config.Volumes)"
check "it has a health check" test -n "$(config .Config.Healthcheck)"

check "it starts" run
check "it runs as uid 10001" is 10001 "$(inside id -u)"
check "its tree cannot be written" fails inside touch /opt/adit/x
check "the key is nobody else's" is "600 adit" "$(inside sh -c 'stat -c "%a %U" /state/*key*')"
check "it is healthy" healthy
signaling=$(listener signaling "$dir/log")
check "a connector registers" start_connector "$dir/first"
check "an agent gets through over its relay" "${ping[@]}" --intermediate "$signaling" -c 1 --ice-policy relay
check "an agent gets a direct path" "${ping[@]}" --intermediate "$signaling" --until-direct
was=$(inside /opt/adit/node_modules/.bin/adit-intermediate id --state-dir /state)
end_others
check "it stops" "${podman[@]}" stop --time 10 "$name"
check "by itself, with status 0" is 0 "$(exit_status)"

check "it starts again, with --drain" run --drain 60s
check "with the same key" is "$was" "$(inside /opt/adit/node_modules/.bin/adit-intermediate id --state-dir /state)"
signaling=$(listener signaling "$dir/log")
check "the connector's name is still its own" start_connector "$dir/second"
"${ping[@]}" --intermediate "$signaling" -c 60 --ice-policy relay >"$dir/ping" 2>&1 &
others+=("$!")
for _ in $(seq 100); do
  [ "$(answers)" -gt 0 ] && break
  sleep 0.1
done
"${podman[@]}" kill --signal TERM "$name" >/dev/null
check "SIGTERM: it drains" says draining
check "it is not healthy then" fails healthy
answers=$(answers)
sleep 2.5
check "a session on its relay goes on" answered_since "$answers"
"${podman[@]}" kill --signal TERM "$name" >/dev/null
check "a second SIGTERM ends it at once" is 143 "$(exit_status)"
