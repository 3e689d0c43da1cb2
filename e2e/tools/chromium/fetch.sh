#!/bin/bash
# Fetches Debian's headless Chromium, the libraries that this machine lacks for it, and one font, so that pages look alike on every
# machine, into the directory $1, from which $1/chromium runs. $2 is the version that is wanted, such as 156.0.8078.108: Debian may not have it any
# more, and then the one that it has is fetched.
set -euo pipefail
to=$1 version=$2

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
fetch() { "$(dirname "$0")/../debian/fetch.sh" "$root" fonts-liberation "$@"; }
fetch "chromium-headless-shell=$version-*" || {
  echo "there is no Chromium $version here (any more): fetching the one that there is" >&2
  fetch chromium-headless-shell
} ||
  { echo "set CHROMIUM= to a Chromium that you have" >&2; exit 1; }

mkdir -p "$to"/{lib,fonts}
mv "$root/usr/lib/chromium" "$to/browser"
rm -f "$to"/browser/libVkLayer_*
find "$root/usr/lib" -name '*.so*' -exec cp --no-dereference --target-directory "$to/lib" {} +
find "$root/usr/share/fonts" -name '*.ttf' -exec cp --target-directory "$to/fonts" {} +
cat > "$to/fonts.conf" <<'FONTS'
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <alias><family>monospace</family><prefer><family>Liberation Mono</family></prefer></alias>
  <match><edit name="family" mode="append_last"><string>Liberation Sans</string></edit></match>
</fontconfig>
FONTS
cat > "$to/chromium" <<'WRAPPER'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export FONTCONFIG_FILE="$here/fonts.conf"
LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/browser/chromium-headless-shell" "$@"
WRAPPER
chmod 755 "$to/chromium"
"$to/chromium" --version
