#!/usr/bin/env bash
# Creates .venv from requirements-dev.lock, every package checked against its hash there.
#
# A stock Debian has Python without pip and without what venv needs to bring one (python3-venv). Then pip's own wheel is
# taken out of Debian's package of it, which needs no privileges and leaves the system as it was.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

fail() {
    echo "corenode: $1" >&2
    exit 1
}

pip_wheel() { # the path of a wheel of pip that Debian ships
    local found
    found=$(compgen -G '/usr/share/python-wheels/pip-*.whl' || true)
    if [ -z "$found" ]; then
        (cd "$1" && apt-get -qq -o APT::Sandbox::User=root download python3-pip-whl >&2 &&
            dpkg-deb --extract python3-pip-whl_*.deb .) || return 1
        found=$(compgen -G "$1/usr/share/python-wheels/pip-*.whl")
    fi
    echo "${found%%$'\n'*}"
}

began=$SECONDS
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "needs Python 3.11 or newer, and $PYTHON is none: apt-get install python3, or name one: make PYTHON=python3.12"
rm -rf .venv
if "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; then
    "$PYTHON" -m venv .venv
else
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    wheel=$(pip_wheel "$scratch") && "$PYTHON" -m venv --without-pip .venv && .venv/bin/python "$wheel/pip" \
        --quiet --disable-pip-version-check install --no-index "$wheel" ||
        fail "cannot make a Python environment here: apt-get update && apt-get install python3-venv"
fi
install=(.venv/bin/python -m pip --quiet --disable-pip-version-check --no-input install)
"${install[@]}" --require-hashes --no-deps --only-binary :all: --requirement requirements-dev.lock
# The project itself, as a link to this directory.
"${install[@]}" --no-deps --no-index --no-build-isolation --editable .
touch .venv/ready
echo "environment: .venv with $(grep -c '==' requirements-dev.lock) packages in $((SECONDS - began)) s"
