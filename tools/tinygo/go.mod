// Builds TinyGo, which compiles the release of the filter (make wasm-release). A module of its own, because nothing else needs what
// TinyGo needs. go.sum knows of what its compiler is linked from, and not of the tools of those who work on it: `go mod tidy` would
// want them.
module github.com/spillway-proxy/spillway/tools/tinygo

go 1.26.0

require github.com/tinygo-org/tinygo v0.41.0
