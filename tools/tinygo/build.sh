#!/bin/bash
# build.sh DIR: builds TinyGo into DIR, from which DIR/tinygo runs: about five minutes, 130 MB to fetch and 450 MB to keep.
#
# TinyGo comes from its Go module (go.mod), and what it needs of LLVM, the C library of WASI and binaryen from Debian 12, in the very
# versions that the file `packages` names: others would compile other modules. Debian's packages are unpacked below DIR. Nothing is
# installed, apt's own lists are neither needed nor changed, and one need not be root.
set -euo pipefail
cd "$(dirname "$0")"
to=$1

missing=()
for program in go g++ apt-get dpkg-deb; do
  command -v "$program" > /dev/null || missing+=("$program")
done
if (( ${#missing[@]} > 0 )); then
  echo "TinyGo is built with Go, a C++ compiler and the packages of Debian 12, and this machine has no ${missing[*]}." >&2
  echo "Install what is missing (the compiler: apt-get install g++), or do without the release: \`make wasm\` needs Go alone." >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,archives}/partial "$work/packages" "$to/root/debian"
# When apt-get is root it downloads as another user, whom it would have to let into our directory: it need not.
apt=(apt-get --quiet --quiet -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o APT::Sandbox::User=root)

echo "tinygo: 1 of 3: fetching packages of Debian's"
mapfile -t packages < packages
"${apt[@]}" update
# What an installation of those that hold programs and libraries would bring: the libraries that they need and this machine lacks.
mapfile -t programs < <(grep -E '^(libllvm|libclang1|libclang-cpp|lld|binaryen)' packages)
"${apt[@]}" --simulate --no-install-recommends install "${programs[@]}" > "$work/plan" || {
  echo "tinygo: tools/tinygo/packages names what Debian 12 offers; this machine's sources of packages don't" >&2
  exit 1
}
mapfile -t libraries < <(awk '$1 == "Inst" { print $2 }' "$work/plan" | grep -vxFf <(cut -d= -f1 packages) || true)
(cd "$work/packages" && "${apt[@]}" download "${packages[@]}" "${libraries[@]}")
for package in "$work"/packages/*.deb; do
  dpkg-deb --extract "$package" "$to/root/debian"
done

echo "tinygo: 2 of 3: compiling"
source=$(go mod download -json github.com/tinygo-org/tinygo | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
cp -r "$source"/{src,targets} "$to/root/"
chmod -R u+w "$to/root"
# Garbage is collected between the host's callbacks only: filter/abi/collect_tinygo.go says why.
runtime=$to/root/src/runtime
cp gc_between.go "$runtime/gc_stack_portable.go"
grep -q 'freeBytes := runGC()' "$runtime/gc_blocks.go"
sed -i 's/freeBytes := runGC()/freeBytes := uintptr(0) \/\/ so the memory grows/' "$runtime/gc_blocks.go"
mkdir -p "$to/root/src/net/http" # a submodule of TinyGo's, which its module comes without, and the filter does without
debian=$to/root/debian/usr
machine=$(g++ -print-multiarch)
export CGO_CPPFLAGS="-I$debian/lib/llvm-19/include -I$debian/include/llvm-19 -I$debian/include/llvm-c-19"
export CGO_LDFLAGS="-L$debian/lib/llvm-19/lib -L$debian/lib/$machine -Wl,-rpath-link,$debian/lib/$machine"
CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags llvm19 -o "$to/tinygo.bin" github.com/tinygo-org/tinygo

cat > "$to/tinygo" <<'WRAPPER'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
debian=$here/root/debian/usr
for lib in "$debian"/lib/*-linux-gnu; do :; done
export LD_LIBRARY_PATH="$lib:$debian/lib/llvm-19/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PATH="$debian/lib/llvm-19/bin:$debian/bin:$PATH" TINYGOROOT="$here/root" GOCACHE="$here/cache"
exec "$here/tinygo.bin" "$@"
WRAPPER
chmod 755 "$to/tinygo"

echo "tinygo: 3 of 3: removing what only the compilation needed"
find "$debian/lib/llvm-19/lib" "$debian/lib/$machine" -maxdepth 1 -name '*.a' -delete
rm -rf "$debian"/include/llvm* "$debian/lib/llvm-19/include" "$debian/share"
"$to/tinygo" version
