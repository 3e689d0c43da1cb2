package plugin

import "github.com/spillway-proxy/spillway/filter/abi"

// The host's callbacks (https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1). Those that would do nothing aren't there: each costs
// a call into the module. A number that names nothing is one that this VM was never told of, and is let pass.

var worker = newVM()

// ProxyABIVersion says which version of the interface the filter speaks.
//
//go:wasmexport proxy_abi_version_0_2_0
func ProxyABIVersion() {}

// ProxyOnContextCreate begins a plugin's configuration, which has no parent, or a stream.
//
//go:wasmexport proxy_on_context_create
func ProxyOnContextCreate(id, parent uint32) {
	abi.Enter()
	if parent == 0 {
		worker.plugins[id] = &plugin{vm: worker, id: id}
	} else if p := worker.plugins[parent]; p != nil && p.engine != nil {
		worker.streams.put(worker.newStream(p, id))
	}
	abi.Leave()
}

// ProxyOnConfigure gives a plugin its configuration.
//
//go:wasmexport proxy_on_configure
func ProxyOnConfigure(id, size uint32) uint32 {
	abi.Enter()
	p := worker.plugins[id]
	done := p != nil && p.configure(int(size))
	abi.Leave()
	if done {
		return 1
	}
	return 0
}

// ProxyOnTick is a plugin's timer.
//
//go:wasmexport proxy_on_tick
func ProxyOnTick(id uint32) {
	abi.Enter()
	if p := worker.plugins[id]; p != nil {
		p.tick()
	}
	abi.Leave()
}

// ProxyOnHTTPCallResponse is what came of a plugin's call.
//
//go:wasmexport proxy_on_http_call_response
func ProxyOnHTTPCallResponse(id, call, _, size, _ uint32) {
	abi.Enter()
	if p := worker.plugins[id]; p != nil {
		p.answered(call, int(size))
	}
	abi.Leave()
}

// ProxyOnRequestHeaders shows a request's headers.
//
//go:wasmexport proxy_on_request_headers
func ProxyOnRequestHeaders(id, _, end uint32) uint32 {
	s := beginning(id)
	s.requestHeaders(end != 0)
	return ended(s)
}

// ProxyOnRequestBody shows a piece of its body.
//
//go:wasmexport proxy_on_request_body
func ProxyOnRequestBody(id, size, end uint32) uint32 {
	s := beginning(id)
	s.requestBody(int(size), end != 0)
	return ended(s)
}

// ProxyOnRequestTrailers shows its end.
//
//go:wasmexport proxy_on_request_trailers
func ProxyOnRequestTrailers(id, _ uint32) uint32 {
	s := beginning(id)
	s.requestTrailers()
	return ended(s)
}

// ProxyOnResponseHeaders shows a response's headers.
//
//go:wasmexport proxy_on_response_headers
func ProxyOnResponseHeaders(id, _, end uint32) uint32 {
	s := beginning(id)
	s.responseHeaders(end != 0)
	return ended(s)
}

// ProxyOnResponseBody shows a piece of its body.
//
//go:wasmexport proxy_on_response_body
func ProxyOnResponseBody(id, size, end uint32) uint32 {
	s := beginning(id)
	s.responseBody(int(size), end != 0)
	return ended(s)
}

// ProxyOnResponseTrailers shows its end.
//
//go:wasmexport proxy_on_response_trailers
func ProxyOnResponseTrailers(id, _ uint32) uint32 {
	s := beginning(id)
	s.responseTrailers()
	return ended(s)
}

// ProxyOnLog is the end of a stream: what is set now stands in the access log.
//
//go:wasmexport proxy_on_log
func ProxyOnLog(id uint32) {
	if s := beginning(id); s != nobody {
		s.end()
	}
	abi.Leave()
}

// ProxyOnDelete is the last callback of a stream or a plugin.
//
//go:wasmexport proxy_on_delete
func ProxyOnDelete(id uint32) {
	abi.Enter()
	if s := worker.streams.get(id); s != nil {
		if worker.streams.remove(id); !s.ended || s.broken {
			s.end()
		}
		worker.recycle(s)
	} else if p := worker.plugins[id]; p != nil {
		delete(worker.plugins, id)
		p.end()
	}
	abi.Leave()
}

// nobody is a stream that this VM was never told of: it is left alone, as one is after a fault.
var nobody = &stream{broken: true, action: abi.Continue}

// beginning begins a callback of a stream's, and gives the stream.
func beginning(id uint32) *stream {
	abi.Enter()
	if s := worker.streams.get(id); s != nil {
		return s
	}
	return nobody
}

// ended ends a callback of a stream's, and says whether the stream goes on.
func ended(s *stream) uint32 {
	abi.Leave()
	return uint32(s.action)
}
