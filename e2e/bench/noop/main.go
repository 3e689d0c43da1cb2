// Command noop is a Wasm filter that does nothing: what any filter costs in Envoy before its first line. It exports the callbacks
// of a request that Spillway does, and is built as the release is.
package main

func main() {}

// ProxyABIVersion says which version of the interface this speaks.
//
//go:wasmexport proxy_abi_version_0_2_0
func ProxyABIVersion() {}

// ProxyOnMemoryAllocate is there because the host wants it: nothing is asked for that would call it.
//
//go:wasmexport proxy_on_memory_allocate
func ProxyOnMemoryAllocate(uint32) uint32 { return 0 }

// ProxyOnContextCreate is the first of a stream's callbacks; all of them do nothing.
//
//go:wasmexport proxy_on_context_create
func ProxyOnContextCreate(_, _ uint32) {}

// ProxyOnRequestHeaders lets them pass, as the other three do what they are shown.
//
//go:wasmexport proxy_on_request_headers
func ProxyOnRequestHeaders(_, _, _ uint32) uint32 { return 0 }

// ProxyOnRequestBody does nothing.
//
//go:wasmexport proxy_on_request_body
func ProxyOnRequestBody(_, _, _ uint32) uint32 { return 0 }

// ProxyOnResponseHeaders does nothing.
//
//go:wasmexport proxy_on_response_headers
func ProxyOnResponseHeaders(_, _, _ uint32) uint32 { return 0 }

// ProxyOnResponseBody does nothing.
//
//go:wasmexport proxy_on_response_body
func ProxyOnResponseBody(_, _, _ uint32) uint32 { return 0 }

// ProxyOnLog does nothing.
//
//go:wasmexport proxy_on_log
func ProxyOnLog(uint32) {}

// ProxyOnDelete does nothing.
//
//go:wasmexport proxy_on_delete
func ProxyOnDelete(uint32) {}
