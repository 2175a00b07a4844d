#!/bin/sh
# Unpacks a software Vulkan driver into a folder, without installing anything: Debian 12 has Mesa 22, which WebGPU
# refuses, and a newer one among its backports. It comes from the mirror that apt uses already, and relies on the packages
# that setup-debian.sh installs. Does nothing on other systems, whose own driver is new enough.
#
# Usage: vulkan-driver.sh FOLDER. Then FOLDER/usr/share/vulkan/icd.d has the driver's file.
set -eu

folder=$1
[ ! -e "$folder/usr/share/vulkan/icd.d/lvp_icd.json" ] || exit 0
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ "$codename" = bookworm ] || exit 0

mirror=$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' |
    awk -v release="$codename" '$2 == release { print $1; exit }')
if [ -z "$mirror" ]; then
    echo "vulkan-driver.sh: apt knows no mirror of $codename" >&2
    exit 1
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
options=""
[ ! -e "$keyring" ] || options="[signed-by=$keyring] "

# A configuration of our own, so that the system's lists stay as they are.
work=$folder.tmp$$
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
work=$(cd "$work" && pwd)
echo "deb $options$mirror $codename-backports main" >"$work/backports.list"
apt() {
    apt-get -qq -o Dir::Etc::SourceList="$work/backports.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User=root -o Debug::NoLocking=1 "$@"
}
apt update
# With it come the few of its libraries that are newer than the system's.
apt install -y --no-install-recommends --download-only "mesa-vulkan-drivers/$codename-backports"
for package in "$work"/cache/archives/*.deb; do
    dpkg -x "$package" "$work/root"
done
mv "$work/root" "$folder" 2>/dev/null || [ -e "$folder/usr/share/vulkan/icd.d/lvp_icd.json" ]
