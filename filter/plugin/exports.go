package plugin

import "github.com/spillway-proxy/spillway/filter/abi"

// The host's callbacks (https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1). Those that would do nothing aren't there: each costs
// a call into the module. A number that names nothing is one that this VM was never told of, and is let pass.

var worker = newVM()

//go:wasmexport proxy_abi_version_0_2_0
func proxyABIVersion() {}

//go:wasmexport proxy_on_context_create
func proxyOnContextCreate(id, parent uint32) {
	abi.Reset()
	if parent == 0 {
		worker.plugins[id] = &plugin{vm: worker, id: id}
		return
	}
	if p := worker.plugins[parent]; p != nil && p.engine != nil {
		worker.streams[id] = worker.newStream(p, id)
	}
}

//go:wasmexport proxy_on_configure
func proxyOnConfigure(id, size uint32) uint32 {
	abi.Reset()
	if p := worker.plugins[id]; p != nil && p.configure(int(size)) {
		return 1
	}
	return 0
}

//go:wasmexport proxy_on_tick
func proxyOnTick(id uint32) {
	abi.Reset()
	if p := worker.plugins[id]; p != nil {
		p.tick()
	}
}

//go:wasmexport proxy_on_http_call_response
func proxyOnHTTPCallResponse(id, _, _, size, _ uint32) {
	abi.Reset()
	if p := worker.plugins[id]; p != nil {
		p.fetched(int(size))
	}
}

//go:wasmexport proxy_on_request_headers
func proxyOnRequestHeaders(id, _, end uint32) uint32 {
	if s := beginning(id); s != nil {
		return uint32(s.requestHeaders(end != 0))
	}
	return uint32(abi.Continue)
}

//go:wasmexport proxy_on_request_body
func proxyOnRequestBody(id, size, end uint32) uint32 {
	if s := beginning(id); s != nil {
		return uint32(s.requestBody(int(size), end != 0))
	}
	return uint32(abi.Continue)
}

//go:wasmexport proxy_on_request_trailers
func proxyOnRequestTrailers(id, _ uint32) uint32 {
	if s := beginning(id); s != nil {
		return uint32(s.requestTrailers())
	}
	return uint32(abi.Continue)
}

//go:wasmexport proxy_on_response_headers
func proxyOnResponseHeaders(id, _, end uint32) uint32 {
	if s := beginning(id); s != nil {
		return uint32(s.responseHeaders(end != 0))
	}
	return uint32(abi.Continue)
}

//go:wasmexport proxy_on_response_body
func proxyOnResponseBody(id, size, end uint32) uint32 {
	if s := beginning(id); s != nil {
		return uint32(s.responseBody(int(size), end != 0))
	}
	return uint32(abi.Continue)
}

//go:wasmexport proxy_on_response_trailers
func proxyOnResponseTrailers(id, _ uint32) uint32 {
	if s := beginning(id); s != nil {
		return uint32(s.responseTrailers())
	}
	return uint32(abi.Continue)
}

// proxyOnLog is the end of a stream: what is set now stands in the access log.
//
//go:wasmexport proxy_on_log
func proxyOnLog(id uint32) {
	if s := beginning(id); s != nil {
		s.end()
	}
}

//go:wasmexport proxy_on_delete
func proxyOnDelete(id uint32) {
	abi.Reset()
	if s := worker.streams[id]; s != nil {
		if delete(worker.streams, id); !s.ended {
			s.end()
		}
		worker.recycle(s)
	} else if p := worker.plugins[id]; p != nil {
		delete(worker.plugins, id)
		p.end()
	}
}

// beginning begins a callback of a stream's, and gives the stream; nil: it isn't known.
func beginning(id uint32) *stream {
	abi.Reset()
	return worker.streams[id]
}
