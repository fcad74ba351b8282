#!/bin/sh
# Puts a software Vulkan driver in a folder, so that the WebGPU provider can be tested without a GPU (Debian or Ubuntu,
# root for the loader alone). First choice: lavapipe 25 from Debian's backports, which has what Dawn asks for; Debian 12's
# own lavapipe lacks shaderSampledImageArrayDynamicIndexing. Second choice: SwiftShader out of Debian's chromium.
# Usage: ATELIER_WEBGPU_ICD=$(sh test/support/install-vulkan.sh [folder]); prints the driver's JSON, the rest on stderr.
set -eu
folder=${1:-${TMPDIR:-/tmp}/atelier-vulkan}
# The mirror this machine uses already.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v '^ *#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
machine=$(dpkg --print-architecture)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# The driver's file names its library by absolute path; ours lies elsewhere.
point() { # json library
  sed "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$2\"|" "$1" >"$folder/icd.json"
  echo "$folder/icd.json"
}
ready() { [ -s "$folder/icd.json" ] && [ -e "$(sed -n 's/.*"library_path": *"\([^"]*\)".*/\1/p' "$folder/icd.json")" ]; }

if ! ldconfig -p | grep -q 'libvulkan\.so\.1'; then
  { apt-get install -y --no-install-recommends libvulkan1 ||
    { apt-get update && apt-get install -y --no-install-recommends libvulkan1; }; } >&2
fi
if ready; then
  echo "$folder/icd.json"
  exit 0
fi

# apt with lists, cache and sources of its own: the machine's sources stay as they are.
backports() {
  state="$folder/apt"
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" >"$state/sources.list"
  own="-o Dir::State::lists=$state/lists -o Dir::Cache=$state/cache -o Dir::Etc::sourcelist=$state/sources.list
    -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root"
  # shellcheck disable=SC2086
  apt-get $own update >&2 &&
    (cd "$state" && rm -f ./*.deb && apt-get $own download mesa-vulkan-drivers >&2) &&
    dpkg -x "$state"/mesa-vulkan-drivers_*.deb "$folder/lavapipe" || return 1
  driver=$(find "$folder/lavapipe" -name 'libvulkan_lvp.so' | head -n 1)
  list=$(find "$folder/lavapipe" -name 'lvp_icd*.json' | head -n 1)
  [ -n "$driver" ] && [ -n "$list" ] || return 1
  # What the driver needs beside the C library; those that the plain release has are enough.
  ldd "$driver" | sed -n 's/^\s*\(lib[^ ]*\) => not found$/\1/p' >"$state/missing"
  if [ -s "$state/missing" ]; then
    apt-get install -y --no-install-recommends libllvm15 libdrm2 libxcb-dri3-0 libxcb-present0 libxcb-randr0 \
      libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libx11-xcb1 libxshmfence1 libwayland-client0 libzstd1 libexpat1 libelf1 >&2 || return 1
  fi
  ! ldd "$driver" | grep -q 'not found' || { ldd "$driver" | grep 'not found' >&2; return 1; }
  point "$list" "$driver"
}

# chromium is large: only its driver is kept.
swiftshader() {
  if [ ! -e /usr/lib/chromium/libvk_swiftshader.so ]; then
    (cd "$folder" && apt-get download chromium-common >&2 && dpkg -x chromium-common_*.deb "$folder/chromium" && rm -f chromium-common_*.deb) || return 1
    from="$folder/chromium/usr/lib/chromium"
  else
    from=/usr/lib/chromium
  fi
  point "$from/vk_swiftshader_icd.json" "$from/libvk_swiftshader.so"
}

backports || { echo "lavapipe from backports: not to be had; trying SwiftShader" >&2; swiftshader; } || {
  echo "No software Vulkan driver could be installed ($machine)." >&2
  exit 1
}
