package plugin

import (
	"encoding/binary"
	"errors"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/spillway-proxy/spillway/filter/internal/admit"
)

// sharedData is the host's shared data as the core's record.Store.
type sharedData struct{}

// Get implements record.Store.
func (sharedData) Get(key string) ([]byte, uint32, bool, error) {
	value, version, err := proxywasm.GetSharedData(key)
	if errors.Is(err, types.ErrorStatusNotFound) {
		return nil, 0, false, nil
	}
	return value, version, err == nil, err
}

// Put implements record.Store. Version 0 would overwrite blindly; the core never asks for it.
func (sharedData) Put(key string, value []byte, version uint32) (bool, error) {
	err := proxywasm.SetSharedData(key, value, version)
	if errors.Is(err, types.ErrorStatusCasMismatch) {
		return false, nil
	}
	return err == nil, err
}

// bodyCame says that the host has received something of the body of a request whose headers are held, shown or not. A host that
// can't tell is taken for one that has: a request that nobody ever lets go is worse than one that is not held.
func bodyCame(s *admit.Stream) bool {
	if proxywasm.SetEffectiveContext(s.ID) != nil {
		return false // it is gone
	}
	total, err := proxywasm.GetProperty([]string{"request", "total_size"}) // of headers and body, as received so far
	if err != nil || len(total) != 8 {
		return true
	}
	headers, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		return true
	}
	size := uint64(0)
	for _, header := range headers {
		size += uint64(len(header[0]) + len(header[1]))
	}
	return binary.LittleEndian.Uint64(total) > size
}
