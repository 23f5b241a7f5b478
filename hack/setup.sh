#!/usr/bin/env bash
# Usage: hack/setup.sh VENV. Creates the virtual environment that every make target uses, from hashed requirements.
# Needs Python 3.11 or newer with venv; on Debian as root the missing package is installed, elsewhere it is named.
set -euo pipefail
venv=$1
python=${PYTHON3:-python3}

"$python" - <<'PY' || { echo "setup: $python is older than Python 3.11; set PYTHON3=/path/to/python3.11 or newer" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package="$("$python" -c 'import sys; print(f"python3.{sys.version_info.minor}-venv")')"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $package"
        apt-get update -qq && apt-get install -y -qq "$package" >/dev/null
    else
        echo "setup: Python's venv module is missing; install it (Debian: apt-get install $package) and run again" >&2
        exit 1
    fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check "uv>=0.9,<1"
echo "setup: installing the development environment into $venv (PyTorch makes this several GB the first time)"
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --require-hashes -r requirements/dev.txt
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --no-deps -e .
touch "$venv/.ready"
