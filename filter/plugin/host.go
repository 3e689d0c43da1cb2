package plugin

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// message is the one whose event is being handled.
type message uint8

const (
	request message = iota
	response
)

// host is the proxy, as the core's admit.Host: while a stream's event is being handled, it stands at that event.
type host struct {
	metrics *metrics
	message message
	from    int // where the piece of the body begins that the event has brought, in what the host holds of it
	size    int // of that piece
}

// at stands at a stream's event.
func (h *host) at(m message, from, size int) { h.message, h.from, h.size = m, from, size }

// Get implements record.Store by the host's shared data.
func (*host) Get(key string) ([]byte, uint32, bool, error) {
	value, version, err := proxywasm.GetSharedData(key)
	if errors.Is(err, types.ErrorStatusNotFound) {
		return nil, 0, false, nil
	}
	return value, version, err == nil, err
}

// Put implements record.Store. Version 0 would overwrite blindly; the core never asks for it.
func (*host) Put(key string, value []byte, version uint32) (bool, error) {
	err := proxywasm.SetSharedData(key, value, version)
	if errors.Is(err, types.ErrorStatusCasMismatch) {
		return false, nil
	}
	return err == nil, err
}

// Headers implements admit.Host.
func (h *host) Headers() [][2]string {
	call, get := "request_headers", proxywasm.GetHttpRequestHeaders
	if h.message == response {
		call, get = "response_headers", proxywasm.GetHttpResponseHeaders
	}
	headers, err := get()
	if err != nil {
		h.failed(call, err)
	}
	trap(headers)
	return headers
}

// Piece implements admit.Host.
func (h *host) Piece() []byte {
	call, get := "request_body", proxywasm.GetHttpRequestBody
	if h.message == response {
		call, get = "response_body", proxywasm.GetHttpResponseBody
	}
	piece, err := get(h.from, h.size)
	if err != nil {
		h.failed(call, err)
	}
	return piece
}

// paths are the properties that the attributes are.
var paths = [admit.Attributes][]string{admit.CodeDetails: {"response", "code_details"}, admit.ResponseFlags: {"response", "flags"}}

// Attribute implements admit.Host.
func (*host) Attribute(a admit.Attribute) (string, bool) {
	value, err := proxywasm.GetProperty(paths[a])
	return unsafe.String(unsafe.SliceData(value), len(value)), err == nil
}

// Received implements admit.Host. A stream that is gone has received nothing.
func (*host) Received(s *admit.Stream) (bytes, headers uint64, known bool) {
	if proxywasm.SetEffectiveContext(s.ID) != nil {
		return 0, 0, true
	}
	total, err := proxywasm.GetProperty([]string{"request", "total_size"}) // of headers and body, as received so far
	if err != nil || len(total) != 8 {
		return 0, 0, false
	}
	list, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		return 0, 0, false
	}
	for _, header := range list {
		headers += uint64(len(header[0]) + len(header[1]))
	}
	return binary.LittleEndian.Uint64(total), headers, true
}

// failed counts a call that the host refused.
func (h *host) failed(call string, err error) {
	h.metrics.add(metric.Errors("host_" + call))
	proxywasm.LogError("spillway: the host refused " + call + ": " + err.Error())
}
