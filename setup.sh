#!/usr/bin/env bash
# Makes .venv with everything the workspace needs, on a bare Debian 12+ or Ubuntu 22.04+. Run again, it does only what
# is missing. System packages need root; without it, sudo is used for apt-get alone.
set -euo pipefail
cd "$(dirname "$0")"

packages=(gcc libvirt-dev make pkg-config)
python=$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    packages+=(python3.11 python3.11-dev python3.11-venv)
    python=python3.11
elif [[ "$(readlink -f "$(command -v "$python")")" == /usr/bin/* ]]; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    packages+=("python$version-dev" "python$version-venv")
fi

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "setup: apt-get needs root, and sudo is not installed; run as root: apt-get install ${missing[*]}" >&2; exit 3; }
        echo "setup: apt-get needs root to install packages; it is run by sudo"
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

stamp=.venv/.made-from
wanted=$(cat requirements.lock setup.sh pyproject.toml ./*/*/pyproject.toml | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setup: making .venv (about 30 s)"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    [ -x .venv/bin/uv ] || .venv/bin/python -m pip -q --disable-pip-version-check install uv==0.13.*
    .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r requirements.lock
    .venv/bin/python libs/protos/generate.py
    .venv/bin/uv pip install -q --python .venv/bin/python --no-deps $(printf -- '-e %s ' libs/* services/* guest sdk/python)
    echo "$wanted" > "$stamp"
fi
.venv/bin/python libs/protos/generate.py
