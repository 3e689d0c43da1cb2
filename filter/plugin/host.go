package plugin

import (
	"errors"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// sharedData is the host's shared data as the core's table.Store.
type sharedData struct{}

// Get implements table.Store.
func (sharedData) Get(key string) ([]byte, uint32, bool, error) {
	value, version, err := proxywasm.GetSharedData(key)
	if errors.Is(err, types.ErrorStatusNotFound) {
		return nil, 0, false, nil
	}
	return value, version, err == nil, err
}

// Put implements table.Store. Version 0 would overwrite blindly; the core never asks for it.
func (sharedData) Put(key string, value []byte, version uint32) (bool, error) {
	err := proxywasm.SetSharedData(key, value, version)
	if errors.Is(err, types.ErrorStatusCasMismatch) {
		return false, nil
	}
	return err == nil, err
}
