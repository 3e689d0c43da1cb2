// Command filter is the Wasm module that Envoy loads. Package plugin is what it does.
package main

import _ "github.com/spillway-proxy/spillway/filter/plugin"

// main is never called: a module of this kind has no entry point.
func main() {}
