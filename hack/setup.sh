#!/usr/bin/env bash
# Makes .venv from requirements.lock, and what it needs on a fresh Debian machine: Python 3.11 or 3.12
# with venv, and Java 17 for Spark. Installs system packages when root, otherwise names the command.
# Runs in seconds when nothing changed: the lock and the two pyproject.toml are hashed into a stamp.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
VENV=.venv

say() { printf '%s\n' "$*" >&2; }

need_packages() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "Installing $*"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        say "Missing system packages. Run: sudo apt-get install -y --no-install-recommends $*"
        exit 1
    fi
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3; do
        if [ -n "$candidate" ] && "$candidate" -c \
            'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

java_major() {
    { java -version 2>&1 || true; } | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1
}

packages=()
find_python >/dev/null || packages+=(python3.11 python3.11-venv)
# Spark 4 runs on Java 17 and 21.
case "$(java_major)" in 17 | 21) ;; *) packages+=(openjdk-17-jre-headless) ;; esac
if [ "${#packages[@]}" -gt 0 ]; then need_packages "${packages[@]}"; fi
python=$(find_python) || { say "Python 3.11 or 3.12 with the venv module is needed; set PYTHON=/path/to/python"; exit 1; }

stamp=$(cat requirements.lock job/pyproject.toml operator/pyproject.toml hack/setup.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat $VENV/.carpool-stamp 2>/dev/null)" = "$stamp" ]; then exit 0; fi

say "Setting up $VENV (the first time this downloads PyTorch: some minutes)"
[ -x $VENV/bin/python ] || "$python" -m venv $VENV
[ "$($VENV/bin/uv --version 2>/dev/null | cut -d' ' -f2)" = "$UV_VERSION" ] ||
    $VENV/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
export VIRTUAL_ENV=$PWD/$VENV
# Byte code now: tests and jobs start hundreds of processes, each of which would compile 1,000 modules
# where PYTHONDONTWRITEBYTECODE is set.
$VENV/bin/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
$VENV/bin/uv pip install --quiet --no-deps --editable job --editable operator
echo "$stamp" >$VENV/.carpool-stamp
