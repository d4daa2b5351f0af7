#!/usr/bin/env bash
# Debian's packages that tests need and pip does not bring. Installs what is missing, as root; else says what to install,
# and the tests that need it are skipped.
set -uo pipefail

missing=()
need() { # COMMAND PACKAGE
	compgen -G "$1" >/dev/null || command -v "$1" >/dev/null || missing+=("$2")
}
need '/usr/lib/postgresql/*/bin/initdb' postgresql
need redis-server redis-server
need docker-compose docker-compose
need bwrap bubblewrap
need socat socat
need ip iproute2
need curl curl
need java default-jre-headless
need chromium chromium

[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing, tests are skipped: ${missing[*]}" >&2
	exit 0
fi
echo "installing ${missing[*]}"
install() { DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; }
log=$(mktemp)
install >"$log" 2>&1 || { apt-get update && install; } >"$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
