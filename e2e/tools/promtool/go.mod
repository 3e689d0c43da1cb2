// Builds promtool, which tests the alerts of istio/monitoring (make check-promtool). A module of its own, because nothing else
// needs what promtool needs. The build tag remove_all_sd leaves out the clients of all clouds, of which go.sum therefore
// knows nothing: `go mod tidy` would want them.
module github.com/spillway-proxy/spillway/e2e/tools/promtool

go 1.26.0

require github.com/prometheus/prometheus v0.315.0
