#!/usr/bin/env bash
# Makes this machine ready, on a bare Debian 12+ or Ubuntu 22.04+: Debian packages, access to /dev/kvm, and .venv with
# the whole workspace. Run again, it does only what is missing.
#
#     ./setup.sh          what running Stoker needs
#     ./setup.sh test     and what its tests need
#
# Only apt-get and the access to /dev/kvm need root; without it, sudo is used for these two alone.
set -euo pipefail
cd "$(dirname "$0")"

say() { echo "setup: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "this needs root, and sudo is not installed; run as root: $*"
        exit 3
    fi
}

packages=(
    # Building libvirt-python.
    gcc libvirt-dev make pkg-config
    # Running virtual machines.
    libvirt-clients libvirt-daemon-system qemu-system-x86
    # Building the guest image.
    debian-archive-keyring erofs-utils mmdebstrap
)
[ "${1:-}" != test ] || packages+=(cpio postgresql zip)

is_installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true)
if [ -z "$python" ] || ! is_recent "$python"; then
    # Ubuntu 22.04 alone has an older python3, and the newer one beside it.
    python=python3
    if grep -q '^VERSION_ID="22.04"' /etc/os-release; then python=python3.11; fi
    packages+=("$python" "$python-dev" "$python-venv")
elif [[ "$(readlink -f "$python")" == /usr/bin/* ]]; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    packages+=("python$version-dev" "python$version-venv")
fi

missing=()
for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
done
needs_virtiofsd() { [ ! -x /usr/lib/qemu/virtiofsd ] && [ ! -x /usr/libexec/virtiofsd ]; }

# Reads apt's own progress out of what it prints, and passes on a line for every tenth.
show_progress() {
    awk -F: -v OFS= '$1 == "dlstatus" || $1 == "pmstatus" {
        what = $1 == "dlstatus" ? "fetching" : "installing"; percent = int($3)
        if (percent >= last + 10 || what != before) { print "setup:   ", what, " ", percent, " %"; fflush(); last = percent; before = what }
    }' >&2
}

install_packages() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 -o APT::Status-Fd=1 "$@" 2>"$apt_errors" | show_progress \
        || { cat "$apt_errors" >&2; say "apt-get could not install: $*"; exit 3; }
}

if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || say "apt-get needs root to install packages; it is run by sudo"
    say "installing ${missing[*]}"
    apt_errors=$(mktemp)
    trap 'rm -f "$apt_errors"' EXIT
    as_root apt-get -q update -o DPkg::Lock::Timeout=300 >/dev/null 2>"$apt_errors" || { cat "$apt_errors" >&2; exit 3; }
    install_packages "${missing[@]}"
    # Newer releases have it in a package of its own, older ones within QEMU's.
    if needs_virtiofsd; then install_packages virtiofsd; fi
fi

# Where there is no udev, nobody gives /dev/kvm to the group kvm. libvirt then probes QEMU anew at every call, which
# takes a minute a domain.
if [ -c /dev/kvm ] && [ "$(stat -c %G:%a /dev/kvm)" != kvm:660 ] && [ "$(stat -c %a /dev/kvm)" != 666 ]; then
    say "giving /dev/kvm to the group kvm, as udev does (needs root)"
    as_root chgrp kvm /dev/kvm
    as_root chmod 660 /dev/kvm
fi

stamp=.venv/.made-from
wanted=$(cat requirements.lock setup.sh pyproject.toml ./*/*/pyproject.toml guest/pyproject.toml | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    say "making .venv (about 30 s)"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    [ -x .venv/bin/uv ] || .venv/bin/python -m pip -q --disable-pip-version-check install uv==0.13.*
    # Compiled at once: each service and command starts in a third of the time, also where Python may write no bytecode.
    .venv/bin/uv pip install -q --compile-bytecode --python .venv/bin/python --require-hashes -r requirements.lock
    .venv/bin/python libs/protos/generate.py
    .venv/bin/uv pip install -q --python .venv/bin/python --no-deps $(printf -- '-e %s ' libs/* services/* guest sdk/python)
    echo "$wanted" > "$stamp"
fi
.venv/bin/python libs/protos/generate.py
