package wasmhost

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Errors of StartVM and Reconfigure.
var (
	// ErrStartRefused means that proxy_on_vm_start answered false.
	ErrStartRefused = errors.New("wasmhost: the filter refused to start")
	// ErrConfigRefused means that proxy_on_configure answered false.
	ErrConfigRefused = errors.New("wasmhost: the filter refused its configuration")
	// ErrDead means that the VM has trapped or was killed.
	ErrDead = errors.New("wasmhost: the VM is dead")
)

// errKilled is why a VM is dead that the test killed.
var errKilled = errors.New("killed by the test")

// vmKey finds the calling VM in a context.
type vmKey struct{}

// VM is one worker's instance of the filter. One goroutine at a time may use it
// and its streams; different VMs of a host may run at once.
type VM struct {
	host *Host
	id   int
	mod  api.Module
	// ctx carries the VM to the host functions.
	ctx      context.Context
	fns      map[string]api.Function
	mallocFn api.Function
	vmConfig []byte

	// contexts holds every context that the guest may name, by id.
	contexts  map[uint32]*wasmContext
	vmContext *wasmContext
	nextID    uint32
	// root is the plugin context of new streams; roots are all, oldest first.
	root  *wasmContext
	roots []*wasmContext

	// current is the context of the call in progress, effective the one that the
	// guest chose instead of it (0: none).
	current   *wasmContext
	effective uint32
	// allowed, if not nil, names the host functions that may be called now.
	allowed map[string]bool
	// actions wait for the call in progress to return.
	actions []func()
	// stopIteration overrules what the callback returns, after a local response.
	stopIteration bool
	// random is where the guest's random bytes come from.
	random io.Reader
	// idlePolls counts waits in a row during one call; see wasiPollOneoff.
	idlePolls int

	metricIDs   [3]uint32
	metricNames map[uint32]string
	nextCallout uint32
	callouts    []*Callout
	err         error
}

// StartVM starts a worker's VM: it instantiates the module, creates a plugin
// context and calls proxy_on_vm_start and proxy_on_configure on it. The error
// wraps ErrStartRefused or ErrConfigRefused where the filter said no, and is the
// trap where it trapped.
func (h *Host) StartVM(vmConfig, pluginConfig []byte) (*VM, error) {
	if h.opts.Canary {
		if err := h.canary(vmConfig, pluginConfig); err != nil {
			return nil, err
		}
	}
	return h.startVM(vmConfig, pluginConfig)
}

func (h *Host) startVM(vmConfig, pluginConfig []byte) (*VM, error) {
	v, err := h.instantiate(vmConfig)
	if err != nil {
		return nil, err
	}
	root, err := v.startPlugin(pluginConfig)
	if err != nil {
		v.Kill()
		return nil, err
	}
	v.root = root
	return v, nil
}

// canary tries a configuration in a VM of its own, once for each configuration.
func (h *Host) canary(vmConfig, pluginConfig []byte) error {
	key := fmt.Sprintf("%x|%x", sha256.Sum256(vmConfig), sha256.Sum256(pluginConfig))
	h.mu.Lock()
	done := h.canaried[key]
	h.mu.Unlock()
	if done {
		return nil
	}
	v, err := h.startVM(vmConfig, pluginConfig)
	if err != nil {
		return err
	}
	v.Kill()
	h.mu.Lock()
	h.canaried[key] = true
	h.mu.Unlock()
	return nil
}

// instantiate makes a VM with a linear memory of its own and runs the guest's
// initialisers, which may call hardly any host function.
func (h *Host) instantiate(vmConfig []byte) (*VM, error) {
	v := &VM{
		host: h, vmConfig: slices.Clone(vmConfig),
		fns: map[string]api.Function{}, contexts: map[uint32]*wasmContext{}, nextID: 1,
		metricIDs:   [3]uint32{uint32(metricCounter), uint32(metricGauge), uint32(metricHistogram)},
		metricNames: map[uint32]string{}, random: rand.Reader,
	}
	h.mu.Lock()
	h.nextVM++
	v.id = h.nextVM
	h.mu.Unlock()
	if h.opts.Seed != 0 {
		v.random = mathrand.NewChaCha8([32]byte{h.opts.Seed, byte(v.id), byte(v.id >> 8)})
	}
	v.vmContext = &wasmContext{vm: v}
	v.vmContext.root = v.vmContext
	v.contexts[0] = v.vmContext
	v.current = v.vmContext
	v.ctx = context.WithValue(h.ctx, vmKey{}, v)

	mod, err := h.module.runtime.InstantiateModule(v.ctx, h.module.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("wasmhost: %w", err)
	}
	v.mod = mod
	v.mallocFn = mod.ExportedFunction(mallocExport)
	v.allowed = duringInitialisation
	_, _ = v.call(v.vmContext, "_initialize")
	v.allowed = nil
	if v.err != nil {
		return nil, v.err
	}
	return v, nil
}

// startPlugin creates a plugin context and configures it. Envoy calls
// proxy_on_vm_start for each plugin context, not once for each VM.
func (v *VM) startPlugin(pluginConfig []byte) (*wasmContext, error) {
	c := v.newContext(nil, nil)
	c.pluginConfig = slices.Clone(pluginConfig)
	v.roots = append(v.roots, c)

	c.configuring = true
	v.callback(c, "proxy_on_context_create", uint64(c.id), 0)
	c.configuring = false
	c.created = true
	r := v.callback(c, "proxy_on_vm_start", uint64(c.id), uint64(len(v.vmConfig)))
	if v.err == nil && r.called && r.value == 0 {
		return nil, ErrStartRefused
	}
	c.configuring = true
	r = v.callback(c, "proxy_on_configure", uint64(c.id), uint64(len(pluginConfig)))
	c.configuring = false
	if v.err == nil && r.called && r.value == 0 {
		return nil, ErrConfigRefused
	}
	return c, v.err
}

// Reconfigure gives the VM a new plugin configuration, as Envoy does when the
// code and the VM's configuration stay the same: a new plugin context beside the
// old one, which serves its streams to the end and is deleted then. A
// configuration that is refused is refused by a canary VM; this VM never sees it
// and goes on as before.
func (v *VM) Reconfigure(pluginConfig []byte) error {
	if v.err != nil {
		return ErrDead
	}
	if err := v.host.canary(v.vmConfig, pluginConfig); err != nil {
		return err
	}
	c, err := v.startPlugin(pluginConfig)
	if err != nil {
		v.fail(err)
		return err
	}
	old := v.root
	v.root = c
	old.retired = true
	old.finishIfDrained()
	return nil
}

// Kill ends the VM as a trap would. The shared data and the metrics stay.
func (v *VM) Kill() { v.fail(errKilled) }

// Dead says whether the VM has trapped or was killed.
func (v *VM) Dead() bool { return v.err != nil }

// Err is the trap that ended the VM, or nil.
func (v *VM) Err() error { return v.err }

// fail marks the VM as dead. Its streams learn of it with their next event; those
// that wait for the filter to resume them have none, and hang.
func (v *VM) fail(err error) {
	if v.err != nil {
		return
	}
	v.err = fmt.Errorf("wasmhost: VM %d: %w", v.id, err)
	for _, c := range v.contexts {
		if s := c.stream; s != nil && !s.Finished && (s.request.held() || s.response.held()) {
			s.Hung = true
		}
	}
	if v.mod != nil {
		// Frees the memory; nothing may run in the module any more.
		_ = v.mod.Close(v.ctx)
	}
}

// Tick fires the timer of each plugin context that has set a period, also of old
// ones that still have streams.
func (v *VM) Tick() {
	for _, c := range slices.Clone(v.roots) {
		if c.tickPeriod > 0 && !c.deleted {
			v.callback(c, "proxy_on_tick", uint64(c.id))
		}
	}
}

// TickPeriod is the tick period of the present plugin context; 0 is no tick.
func (v *VM) TickPeriod() time.Duration { return v.root.tickPeriod }

// PluginContexts is the number of plugin contexts: more than one while an old
// configuration still has streams.
func (v *VM) PluginContexts() int { return len(v.roots) }

// Contexts is the number of stream contexts that the guest hasn't been told to
// delete.
func (v *VM) Contexts() int {
	n := 0
	for _, c := range v.contexts {
		if c.stream != nil {
			n++
		}
	}
	return n
}

// Mallocs is how many pieces of memory the guest has allocated so far. Only the
// build for tests says it; of another, and of a dead VM, it is an error.
func (v *VM) Mallocs() (uint64, error) {
	if v.err != nil {
		return 0, v.err
	}
	count := v.mod.ExportedFunction("spillway_mallocs")
	if count == nil {
		return 0, errors.New("wasmhost: the module doesn't tell what it allocates")
	}
	got, err := count.Call(v.ctx)
	if err != nil {
		return 0, err
	}
	return got[0], nil
}

// MemoryBytes is the size of the linear memory, and 0 for a dead VM.
func (v *VM) MemoryBytes() uint64 {
	if v.err != nil {
		return 0
	}
	return uint64(v.mod.Memory().Size())
}
