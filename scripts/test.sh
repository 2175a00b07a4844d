#!/bin/sh
# Runs the tests anywhere: installs what they need on Debian and Ubuntu, draws in software where there is no GPU, and
# brings a virtual display where there is none. Arguments go to `cargo test`.
set -eu
cd "$(dirname "$0")/.."

if [ -e /etc/debian_version ]; then
    sh scripts/setup-debian.sh
fi

if [ "$(uname -s)" = Linux ]; then
    if ! ls /dev/dri/renderD* >/dev/null 2>&1 && [ ! -e /dev/nvidiactl ]; then
        export LIBGL_ALWAYS_SOFTWARE=1
        for driver in /usr/share/vulkan/icd.d/lvp_icd*.json; do
            if [ -e "$driver" ]; then
                export VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver"
            fi
        done
    fi
    if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xvfb-run >/dev/null; then
        exec xvfb-run -a -s "-screen 0 1920x1080x24" cargo test "$@"
    fi
fi
exec cargo test "$@"
