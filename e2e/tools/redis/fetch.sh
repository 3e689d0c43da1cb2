#!/bin/bash
# Fetches Debian's (or Ubuntu's) Redis, and the libraries that this machine lacks for it, into the directory $1, from which
# $1/redis-server runs.
set -euo pipefail
to=$1

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
"$(dirname "$0")/../debian/fetch.sh" "$root" redis-server || { echo "install Redis, or set REDIS_SERVER= to one you have" >&2; exit 1; }

mkdir -p "$to/lib"
cp --dereference "$root/usr/bin/redis-server" "$to/redis-server.bin"
find "$root" -name '*.so*' -exec cp --no-dereference --target-directory "$to/lib" {} +
cat > "$to/redis-server" <<'WRAPPER'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/redis-server.bin" "$@"
WRAPPER
chmod 755 "$to/redis-server"
"$to/redis-server" --version
