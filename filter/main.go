// Command filter is the Wasm module that Envoy loads. It only wires the plugin to the SDK.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"github.com/spillway-proxy/spillway/filter/plugin"
)

// main is never called: a module of this kind has no entry point.
func main() {}

func init() { proxywasm.SetVMContext(plugin.New()) }
