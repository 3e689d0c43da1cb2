package wasmhost

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// memoryLimitPages is Envoy's cap of 1 GiB on a VM's linear memory.
const memoryLimitPages = 1 << 14

// Module is a filter compiled to machine code, ready to be instantiated by any
// number of hosts.
type Module struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	cache    wazero.CompilationCache
}

// Compile compiles the wasm file at path. The machine code is kept in
// $XDG_CACHE_HOME/spillway/wazero (or the same under ~/.cache), so that only the
// first run of an unchanged file is slow.
func Compile(ctx context.Context, path string) (*Module, error) {
	code, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("wasmhost: %w", err)
	}
	cfg := wazero.NewRuntimeConfig().WithMemoryLimitPages(memoryLimitPages)
	m := &Module{}
	if dir, err := cacheDir(); err == nil {
		// An unwritable cache only costs time, so it isn't an error.
		if m.cache, err = wazero.NewCompilationCacheWithDir(dir); err == nil {
			cfg = cfg.WithCompilationCache(m.cache)
		}
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, cfg)
	if err := m.compile(ctx, code); err != nil {
		_ = m.Close(ctx)
		return nil, fmt.Errorf("wasmhost: %s: %w", path, err)
	}
	return m, nil
}

// compile registers the host's functions and compiles the guest against them.
func (m *Module) compile(ctx context.Context, code []byte) error {
	if err := registerFunctions(ctx, m.runtime, "env", proxyFunctions()); err != nil {
		return err
	}
	if err := registerFunctions(ctx, m.runtime, "wasi_snapshot_preview1", wasiFunctions()); err != nil {
		return err
	}
	compiled, err := m.runtime.CompileModule(ctx, code)
	if err != nil {
		return err
	}
	exports := compiled.ExportedFunctions()
	if _, ok := exports["proxy_abi_version_0_2_0"]; !ok {
		return fmt.Errorf("missing or unknown proxy-wasm ABI version")
	}
	if _, ok := exports[mallocExport]; !ok {
		return fmt.Errorf("module doesn't export %s", mallocExport)
	}
	m.compiled = compiled
	return nil
}

// Close frees the machine code and every VM that still runs it.
func (m *Module) Close(ctx context.Context) error {
	err := m.runtime.Close(ctx)
	if m.cache != nil {
		if cerr := m.cache.Close(ctx); err == nil {
			err = cerr
		}
	}
	return err
}

func cacheDir() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "spillway", "wazero"), nil
}

// hostFunction is one function offered to the guest. The parameters and the
// result are written as one letter each: i for a 32-bit and l for a 64-bit
// integer; an empty result means none.
type hostFunction struct {
	name   string
	params string
	result string
	call   func(v *VM, args []uint64) uint64
}

// registerFunctions makes the functions importable under the module's name. They
// find the VM that calls them in the context, because one registration serves
// all VMs of all hosts.
func registerFunctions(ctx context.Context, rt wazero.Runtime, module string, fns []hostFunction) error {
	b := rt.NewHostModuleBuilder(module)
	for _, f := range fns {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(ctx context.Context, _ api.Module, stack []uint64) {
				v := ctx.Value(vmKey{}).(*VM)
				v.enterHost(module, f.name)
				for i, l := range f.params {
					if l == 'i' { // The upper half of the slot is undefined.
						stack[i] = uint64(uint32(stack[i]))
					}
				}
				if r := f.call(v, stack); f.result != "" {
					stack[0] = r
				}
			}), valueTypes(f.params), valueTypes(f.result)).Export(f.name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func valueTypes(letters string) []api.ValueType {
	types := make([]api.ValueType, 0, len(letters))
	for _, l := range letters {
		if l == 'l' {
			types = append(types, api.ValueTypeI64)
		} else {
			types = append(types, api.ValueTypeI32)
		}
	}
	return types
}
