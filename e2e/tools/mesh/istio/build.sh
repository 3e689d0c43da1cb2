#!/bin/bash
# build.sh DIR: builds Istio's own programs into DIR, and puts beside them the files that they need: manifests/ for istioctl,
# envoy_bootstrap.json for pilot-agent.
#
# Istio's module asks for pre-releases that are not published as modules; go.mod names the releases in their place. The release of
# Envoy's contrib types lacks some packages that Istio imports for nothing but their registration: those imports are left out,
# in a copy, because Go compiles no changed file in its cache of modules. Nothing that istiod does is different.
set -euo pipefail
cd "$(dirname "$0")"
out=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

go mod download istio.io/istio github.com/envoyproxy/go-control-plane/contrib
source=$(go list -m -f '{{.Dir}}' istio.io/istio)
contrib=$(go list -m -f '{{.Dir}}' github.com/envoyproxy/go-control-plane/contrib)
cp -r "$source" "$work/istio"
chmod -R u+w "$work/istio"

types=pkg/config/xds/filter_types.gen.go
module=github.com/envoyproxy/go-control-plane/contrib
sed -n "s|^\t_ \"$module/\(.*\)\"$|\1|p" "$source/$types" | while read -r package; do
	test -d "$contrib/$package" || sed -i "\|\"$module/$package\"|d" "$work/istio/$types"
done

cp go.mod go.sum "$work/"
go mod edit -replace "istio.io/istio=$work/istio" "$work/go.mod"
for program in pilot/cmd/pilot-discovery pilot/cmd/pilot-agent istioctl/cmd/istioctl; do
	CGO_ENABLED=0 go build -modfile "$work/go.mod" -trimpath -tags vtprotobuf,disable_pgv -ldflags="-s -w" \
		-o "$out/" "istio.io/istio/$program"
done

cp -r "$work/istio/manifests" "$out/manifests"
cp "$work/istio/tools/packaging/common/envoy_bootstrap.json" "$out/"
