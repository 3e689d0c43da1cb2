package plugin

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/spillway-proxy/spillway/filter/abi"
	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
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
	from    int    // where the piece of the body begins that the event has brought, in what the host holds of it
	size    int    // of that piece
	piece   []byte // all of that piece, once it has been asked for at once
	headers [][2]string
}

// at stands at a stream's event.
func (h *host) at(m message, from, size int) { h.message, h.from, h.size, h.piece = m, from, size, nil }

// now is the time of an event.
func now() clock.Moment { return clock.Moment(abi.Now()) }

// Wall implements admit.Host.
func (*host) Wall() int64 { return abi.WallClock() }

// Get implements record.Store by the host's shared data.
func (*host) Get(key string) ([]byte, uint32, bool, error) {
	value, version, status := abi.SharedData(key)
	switch status {
	case abi.OK:
		return value, version, true, nil
	case abi.NotFound:
		return nil, 0, false, nil
	default:
		return nil, 0, false, status
	}
}

// Put implements record.Store. Version 0 would overwrite blindly; the core never asks for it.
func (*host) Put(key string, value []byte, version uint32) (bool, error) {
	switch status := abi.SetSharedData(key, value, version); status {
	case abi.OK:
		return true, nil
	case abi.CasMismatch:
		return false, nil
	default:
		return false, status
	}
}

// Headers implements admit.Host.
func (h *host) Headers() [][2]string {
	call, which := "request_headers", abi.RequestHeaders
	if h.message == response {
		call, which = "response_headers", abi.ResponseHeaders
	}
	var status abi.Status
	if h.headers, status = abi.Headers(which, h.headers); status != abi.OK {
		h.failed(call, status)
	}
	trap(h.headers)
	return h.headers
}

// Piece implements admit.Host.
func (h *host) Piece(from, size int) []byte {
	call, which := "request_body", abi.RequestBody
	if h.message == response {
		call, which = "response_body", abi.ResponseBody
	}
	piece, status := abi.Body(which, h.from+from, min(size, h.size-from))
	if status != abi.OK {
		h.failed(call, status)
	}
	if len(piece) == h.size {
		h.piece = piece
	}
	return piece
}

// whole is all of the request's body, which is complete and held. Most come in one piece, which the event has brought, and which has been read.
func (h *host) whole() ([]byte, abi.Status) {
	if h.message == request && h.from == 0 && len(h.piece) > 0 {
		return h.piece, abi.OK
	}
	return abi.Body(abi.RequestBody, 0, math.MaxInt32)
}

// Attribute implements admit.Host.
func (*host) Attribute(path string) (string, bool) {
	value, status := abi.Property(path)
	trapAt(value)
	return unsafe.String(unsafe.SliceData(value), len(value)), status == abi.OK
}

// Received implements admit.Host. A stream that is gone has received nothing.
func (h *host) Received(s *admit.Stream) (bytes, headers uint64, known bool) {
	if abi.SetEffectiveContext(s.ID) != abi.OK {
		return 0, 0, true
	}
	total, status := abi.Property("request\x00total_size") // of headers and body, as received so far
	trapAt(total)
	if status != abi.OK || len(total) != 8 {
		return 0, 0, false
	}
	if h.headers, status = abi.Headers(abi.RequestHeaders, h.headers); status != abi.OK {
		return 0, 0, false
	}
	for i := range h.headers {
		headers += uint64(len(h.headers[i][0]) + len(h.headers[i][1]))
	}
	return binary.LittleEndian.Uint64(total), headers, true
}

// failed counts a call that the host refused.
func (h *host) failed(call string, status abi.Status) {
	h.metrics.add(metric.Errors("host_" + call))
	abi.Log(abi.Error, "spillway: the host refused "+call+": "+status.Error())
}
