// Builds Istio's own programs (istiod, agent, istioctl) for the tests of e2e/mesh: see build.sh. A module of its own, because
// nothing else needs what these need. The four replacements are releases of what Istio's go.mod wants a pre-release of
// that is not published. Only what is built is in go.sum: `go mod tidy` would want more.
module github.com/spillway-proxy/spillway/e2e/mesh/build/istio

go 1.26.0

require istio.io/istio v0.0.0-20260827124520-eed52ebb66ad

replace (
	github.com/envoyproxy/go-control-plane/contrib => github.com/envoyproxy/go-control-plane/contrib v1.36.0
	github.com/envoyproxy/go-control-plane/envoy => github.com/envoyproxy/go-control-plane/envoy v1.40.0
	istio.io/api => istio.io/api v1.31.1
	istio.io/client-go => istio.io/client-go v1.31.1
)
