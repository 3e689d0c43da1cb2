#!/usr/bin/env bash
# release.sh check VERSION        may this commit be released as VERSION (such as v0.1.0)? Says what is wrong, all of it, and ends with 1.
# release.sh notes VERSION        prints the version's section of CHANGELOG.md.
# release.sh tag VERSION NOTES    the same check; writes the notes to the file NOTES, and makes the tag, with them as its message.
#
# Nothing is pushed: `git push origin VERSION` does that.
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
command=${1:-} version=${2:-} file=${3:-}

# notes prints the lines between the version's heading and the next one, without empty lines at both ends.
notes() {
  awk -v version="${version#v}" '
    /^## / { inside = ($2 == version); next }
    inside && (NF || lines) { lines++; text = text $0 "\n" }
    END { sub(/\n+$/, "\n", text); printf "%s", text }' CHANGELOG.md
}

check() {
  local problems=()
  [[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || problems+=("VERSION=$version: want one such as v0.1.0")
  [[ -z $(git status --porcelain) ]] || problems+=("there are changes that aren't committed: commit them, or take them back")
  ! git rev-parse --quiet --verify "refs/tags/$version" > /dev/null || problems+=("the tag $version is there already: choose another version")
  [[ -n $(notes) ]] || problems+=("CHANGELOG.md says nothing of ${version#v}: want a section \"## ${version#v}\"")
  (( ${#problems[@]} == 0 )) || { printf 'release: %s\n' "${problems[@]}" >&2; exit 1; }
}

case $command in
  check) check ;;
  notes) notes ;;
  tag)
    check
    notes > "$file"
    git -c core.commentChar=';' tag --annotate --file <(printf 'Spillway %s\n\n' "$version"; cat "$file") --cleanup=verbatim "$version"
    echo "release: $version is tagged, and $file has its notes. To publish it: git push origin $version"
    ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
