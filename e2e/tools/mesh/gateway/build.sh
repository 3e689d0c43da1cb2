#!/bin/bash
# build.sh DIR: builds Envoy Gateway into DIR, and copies the custom resources of its Helm chart, which have those of the Gateway API.
set -euo pipefail
cd "$(dirname "$0")"
out=$1
CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$out/envoy-gateway" github.com/envoyproxy/gateway/cmd/envoy-gateway
chart=$(go list -m -f '{{.Dir}}' github.com/envoyproxy/gateway)/charts/gateway-helm
mkdir "$out/crds"
cp "$chart"/crds/gatewayapi-crds.yaml "$chart"/crds/generated/*.yaml "$out/crds/"
chmod -R u+w "$out/crds"
