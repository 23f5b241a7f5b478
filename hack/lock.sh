#!/bin/sh
# Usage: hack/lock.sh [--upgrade | --upgrade-package NAME]
# Rewrites requirements/*.txt and hack/images/installer.txt from pyproject.toml: exact versions with hashes and no registry addresses. Without an
# option, versions already pinned stay. dev.txt decides; the image files are held to it, so tests run what ships.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || uv=uv
no_hub=$(mktemp)
trap 'rm -f "$no_hub"' EXIT
# tokenizers names huggingface-hub only to download from the hub, which nothing here does: 20 MB less in the image.
echo 'huggingface-hub ; python_version < "3"' >"$no_hub"

lock() { # FILE OPTION…
    target=$1
    shift
    "$uv" pip compile --quiet --generate-hashes --no-header --python-version 3.11 --output-file "$target" "$@"
}

lock requirements/dev.txt --extra dev pyproject.toml "$@"
lock requirements/operator.txt --extra operator --constraint requirements/dev.txt pyproject.toml
lock requirements/runtime.txt --extra runtime --constraint requirements/dev.txt --override "$no_hub" pyproject.toml
# The servers that make bench PEERS=1 compares with; in an environment of their own, so not held to ours.
lock requirements/peers.txt hack/bench/peers/requirements.in "$@"
# The installer itself, for base images that carry Python without pip.
echo 'pip>=25' | lock hack/images/installer.txt - "$@"
