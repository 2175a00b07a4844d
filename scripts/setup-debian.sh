#!/bin/sh
# Installs, on Debian and Ubuntu, what building and testing need beside Rust: a linker, Python's pip (build.rs fetches
# ONNX Runtime with it), a software Vulkan driver and a virtual display. Asks nothing; does nothing where all is there.
set -eu

packages="mesa-vulkan-drivers libvulkan1 libegl1 libgl1 libx11-6 libx11-xcb1 libxcursor1 libxi6 libxrandr2
libxkbcommon0 libxkbcommon-x11-0 libwayland-client0 xvfb xauth"

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "setup-debian.sh: this is not Debian or Ubuntu; nothing was installed" >&2
    exit 0
fi

missing=""
for package in $packages; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
command -v python3 >/dev/null || missing="$missing python3"
python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"
[ -n "$missing" ] || exit 0

echo "installing:$missing"
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null; then
    as_root="sudo -n"
else
    echo "setup-debian.sh: run as root: apt-get install$missing" >&2
    exit 1
fi
apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get"
# shellcheck disable=SC2086 # command and list are meant to be split
$apt update -qq
# shellcheck disable=SC2086
$apt install -y -qq --no-install-recommends $missing
