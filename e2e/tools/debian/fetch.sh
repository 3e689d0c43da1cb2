#!/bin/bash
# Unpacks Debian's (or Ubuntu's) packages $2, $3, ... into the directory $1, with those of their dependencies that this machine lacks.
# Nothing is installed: that would start services, and want root. apt's own lists are neither needed nor changed, so this works on a
# fresh machine, and for users other than root.
set -euo pipefail
to=$1
shift

if ! command -v apt-get dpkg-deb > /dev/null; then
  echo "no apt-get to fetch $* with" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,archives}/partial "$work/packages" "$to"
# When apt-get is root it downloads as another user, whom it would have to let into our directory: it need not.
apt=(apt-get --quiet --quiet -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o APT::Sandbox::User=root)

"${apt[@]}" update
# What an installation would bring: the packages, and what of their dependencies is missing here.
"${apt[@]}" --simulate --no-install-recommends install "$@" > "$work/plan"
mapfile -t packages < <(awk '$1 == "Inst" { print $2 }' "$work/plan")
# What is installed already is fetched all the same: it may be gone tomorrow, and the cache stays.
(cd "$work/packages" && "${apt[@]}" download "$@" "${packages[@]}")
for package in "$work"/packages/*.deb; do
  dpkg-deb --extract "$package" "$to"
done
