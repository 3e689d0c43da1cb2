#!/bin/bash
# build.sh DIR: builds etcd, kube-apiserver and kubectl into DIR. They say which version they are, as a release's do.
set -euo pipefail
cd "$(dirname "$0")"
out=$1
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<< "${version#v}"
base=k8s.io/component-base/version
flags="-s -w -X $base.gitVersion=$version -X $base.gitMajor=$major -X $base.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$version"

CGO_ENABLED=0 go build -trimpath -ldflags="$flags" -o "$out/etcd" go.etcd.io/etcd/server/v3
for program in kube-apiserver kubectl; do
	CGO_ENABLED=0 go build -trimpath -ldflags="$flags" -o "$out/" "k8s.io/kubernetes/cmd/$program"
done
