#!/usr/bin/env bash
# Installs what `npm pack` makes of core and ice in an empty folder, and runs the README's example there, on Node and on Bun.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec node "$here/ice-package.mjs"
