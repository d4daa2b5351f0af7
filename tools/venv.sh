#!/usr/bin/env bash
# A virtual environment with pip at .venv, also where Python came without ensurepip, as Debian's does.
#
#   tools/venv.sh PYTHON
set -uo pipefail
python=$1
exec 3>&2

complete() { .venv/bin/python -m pip --version; }
plain() { "$python" -m venv .venv; }
with_outer_pip() { "$python" -m venv --without-pip .venv && "$python" -m pip --python .venv/bin/python install --quiet pip; }
with_apt() {
	{ [ "$(id -u)" = 0 ] && command -v apt-get; } || return 1
	echo "python3-venv is missing: installing it" >&3
	apt-get install --yes python3-venv || { apt-get update && apt-get install --yes python3-venv; }
	plain
}

for way in true plain with_outer_pip with_apt; do
	[ "$way" = true ] || rm -rf .venv # what an earlier way left half-made
	{ "$way" && complete; } >/dev/null 2>&1 && exit 0
done
rm -rf .venv
echo "$python makes no virtual environment with pip: apt-get install python3-venv, or say make PYTHON=/another/python3" >&2
exit 2
