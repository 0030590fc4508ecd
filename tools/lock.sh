#!/usr/bin/env bash
# Pins the newest dependencies that pyproject.toml allows, each with its hashes:
#   requirements.lock      what the program needs; goes into dist/corenode
#   requirements-dev.lock  the same and what checks and tests need; goes into .venv
# Pinned for the oldest Python we support, on any platform.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/pip install --quiet --disable-pip-version-check uv
compile=(.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock")
"${compile[@]}" pyproject.toml --output-file requirements.lock
"${compile[@]}" pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock
echo "lock: $(grep -c '==' requirements.lock) packages for the program," \
    "$(grep -c '==' requirements-dev.lock) with checks and tests"
