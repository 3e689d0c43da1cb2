#!/bin/bash
# Fetches Debian's (or Ubuntu's) Redis, and the libraries that this machine lacks for it, into the directory $1, from which
# $1/redis-server runs. Nothing is installed: that would start a service on port 6379. apt's own lists are neither needed nor
# changed, so this works on a fresh machine, and for users other than root.
set -euo pipefail
to=$1

if ! command -v apt-get dpkg-deb > /dev/null; then
  echo "no redis-server on PATH, and no apt-get to fetch one with: install Redis, or set REDIS_SERVER= to one you have" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,archives}/partial "$work/packages" "$to/lib"
# When apt-get is root it downloads as another user, whom it would have to let into our directory: it need not.
apt=(apt-get --quiet --quiet -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o APT::Sandbox::User=root)

"${apt[@]}" update
# What an installation would bring: Redis, and what of its dependencies is missing here.
"${apt[@]}" --simulate --no-install-recommends install redis-server > "$work/plan"
mapfile -t packages < <(awk '$1 == "Inst" { print $2 }' "$work/plan")
(cd "$work/packages" && "${apt[@]}" download "${packages[@]}")
for package in "$work"/packages/*.deb; do
  dpkg-deb --extract "$package" "$work/root"
done

cp --dereference "$work/root/usr/bin/redis-server" "$to/redis-server.bin"
find "$work/root" -name '*.so*' -exec cp --no-dereference --target-directory "$to/lib" {} +
cat > "$to/redis-server" <<'WRAPPER'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/redis-server.bin" "$@"
WRAPPER
chmod 755 "$to/redis-server"
"$to/redis-server" --version
