package wasmhost

import "slices"

// bufferType says which buffer a host call concerns.
type bufferType uint64

const (
	bufferRequestBody  bufferType = 0
	bufferResponseBody bufferType = 1
	bufferDownstream   bufferType = 2
	bufferUpstream     bufferType = 3
	bufferCalloutBody  bufferType = 4
	bufferGrpcReceive  bufferType = 5
	bufferVMConfig     bufferType = 6
	bufferPluginConfig bufferType = 7
	bufferTypeMax      bufferType = 8
)

// bodyOf returns the leg whose body a buffer type is, or nil.
func (c *wasmContext) bodyOf(t bufferType) *leg {
	switch {
	case c.stream == nil:
		return nil
	case t == bufferRequestBody:
		return c.stream.request
	case t == bufferResponseBody:
		return c.stream.response
	}
	return nil
}

// buffer returns what the guest may read now. A body that is out of reach is
// empty; a configuration that is out of reach doesn't exist.
func (c *wasmContext) buffer(t bufferType) ([]byte, bool) {
	switch t {
	case bufferVMConfig:
		return c.vm.vmConfig, true
	case bufferPluginConfig:
		return c.pluginConfig, c.configuring
	case bufferCalloutBody:
		if c.root.answer == nil {
			return nil, false
		}
		return c.root.answer.body, true
	case bufferRequestBody, bufferResponseBody:
		if l := c.bodyOf(t); l != nil && l.body() != nil {
			return *l.body(), true
		}
		return nil, true
	case bufferDownstream, bufferUpstream, bufferGrpcReceive:
		return nil, true
	}
	return nil, false
}

func proxyGetBufferBytes(v *VM, a []uint64) uint64 {
	t := bufferType(a[0])
	if t > bufferTypeMax {
		return uint64(statusBadArgument)
	}
	b, ok := v.context().buffer(t)
	if !ok {
		return uint64(statusNotFound)
	}
	start, length := uint64(uint32(a[1])), uint64(uint32(a[2]))
	start = min(start, uint64(len(b)))
	length = min(length, uint64(len(b))-start)
	if !v.returnBytes(b[start:start+length], a[3], a[4]) {
		return uint64(statusInvalidMemoryAccess)
	}
	return uint64(statusOK)
}

// proxySetBufferBytes can put bytes before a body, after it, or in its place;
// other cuts are refused.
func proxySetBufferBytes(v *VM, a []uint64) uint64 {
	t := bufferType(a[0])
	if t > bufferTypeMax {
		return uint64(statusBadArgument)
	}
	c := v.context()
	if _, ok := c.buffer(t); !ok {
		return uint64(statusNotFound)
	}
	data, ok := v.read(a[3], a[4])
	if !ok {
		return uint64(statusInvalidMemoryAccess)
	}
	l := c.bodyOf(t)
	if l == nil || l.body() == nil {
		return uint64(statusBadArgument)
	}
	b := l.body()
	start, length := uint64(uint32(a[1])), uint64(uint32(a[2]))
	size := uint64(len(*b))
	switch {
	case start == 0 && length == 0:
		*b = slices.Concat(data, *b)
	case start == 0 && length >= size:
		*b = data
	case start > 0 && start >= size:
		*b = append(*b, data...)
	default:
		return uint64(statusBadArgument)
	}
	return uint64(statusOK)
}
