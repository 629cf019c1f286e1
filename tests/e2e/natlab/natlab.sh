#!/usr/bin/env bash
# npm run natlab [-- OPTIONS]: real NATs in network namespaces, the real programs in them, and what came of it (--help).
# Each lab is a process of its own, first in a process namespace of its own, with network and mount namespaces below: when that
# process ends, however it ends, the kernel takes everything else with it, and there is nothing to clean up. For the same
# reason labs beside each other, or started twice, do not collide.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Prints the command that makes the namespaces of one lab.
lab_command() {
  local common="--net --mount --pid --fork --kill-child --mount-proc"
  local user
  for user in "--user --map-root-user " ""; do
    # shellcheck disable=SC2086 # words
    if unshare $user$common true 2>/dev/null; then
      echo "unshare $user$common"
      return
    fi
  done
  return 1
}

case ${1:-} in
inside) # the first process of a lab
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir /run/netns /run/lab
  ip link set lo up
  exec "$bun" "$here/lab-main.ts"
  ;;
*)
  command=$(lab_command) || {
    namespace_help
    exit 1
  }
  if ! command -v nft >/dev/null; then
    echo "The NATs take nftables, with the kernel's nf_tables:      apt-get install nftables" >&2
    exit 1
  fi
  ADIT_NATLAB_UNSHARE=$command exec "$bun" "$here/main.ts" "$@"
  ;;
esac
