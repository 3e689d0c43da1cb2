package wasmhost

import (
	"slices"
	"time"
)

// wasmContext is what an id in the guest's calls stands for: the VM (id 0), a
// plugin, or a stream.
type wasmContext struct {
	vm   *VM
	id   uint32
	root *wasmContext
	// stream is nil for the VM's and a plugin's context.
	stream *Stream
	// created says that the guest knows of the context.
	created bool
	deleted bool

	// The rest is a plugin context's.
	pluginConfig []byte
	// configuring says that the guest may read the plugin's configuration now.
	configuring bool
	tickPeriod  time.Duration
	// streams counts the streams that keep a retired context alive.
	streams int
	retired bool
	// pendingDone says that the guest put its deletion off until proxy_done.
	pendingDone bool
	// answer is the callout response that the guest may read now.
	answer *calloutAnswer
}

// newContext allocates an id; a context without a root is a plugin's.
func (v *VM) newContext(root *wasmContext, s *Stream) *wasmContext {
	c := &wasmContext{vm: v, id: v.nextID, root: root, stream: s}
	v.nextID++
	if root == nil {
		c.root = c
	} else {
		root.streams++
	}
	v.contexts[c.id] = c
	return c
}

// create tells the guest of the context, once.
func (c *wasmContext) create() {
	if c.created {
		return
	}
	c.vm.callback(c, "proxy_on_context_create", uint64(c.id), uint64(c.root.id))
	c.created = true
}

// remove takes the context out of the guest's reach.
func (c *wasmContext) remove() {
	c.deleted = true
	delete(c.vm.contexts, c.id)
	if c.stream != nil {
		c.root.streams--
		c.root.finishIfDrained()
		return
	}
	c.vm.roots = slices.DeleteFunc(c.vm.roots, func(r *wasmContext) bool { return r == c })
	c.vm.cancelCallouts(c)
}

// finishIfDrained ends a retired plugin context whose streams are gone. Plugin
// contexts get no proxy_on_log. A guest that answers proxy_on_done with false is
// deleted when it calls proxy_done.
func (c *wasmContext) finishIfDrained() {
	if !c.retired || c.streams > 0 || c.deleted || c.pendingDone {
		return
	}
	r := c.vm.callback(c, "proxy_on_done", uint64(c.id))
	if r.called && r.value == 0 {
		c.pendingDone = true
		return
	}
	c.delete()
}

func (c *wasmContext) delete() {
	c.vm.callback(c, "proxy_on_delete", uint64(c.id))
	c.remove()
}

// proxyDone is only valid for a plugin context that put its end off.
func proxyDone(v *VM, _ []uint64) uint64 {
	c := v.context()
	if !c.pendingDone {
		return uint64(statusNotFound)
	}
	c.pendingDone = false
	v.later(c.delete)
	return uint64(statusOK)
}

// proxySetEffectiveContext refuses an id that names no context, and leaves the
// effective context as it was then.
func proxySetEffectiveContext(v *VM, a []uint64) uint64 {
	id := uint32(a[0])
	if _, ok := v.contexts[id]; !ok {
		return uint64(statusBadArgument)
	}
	v.effective = id
	return uint64(statusOK)
}

// proxySetTickPeriod sets the period of the plugin context, also when a stream
// calls it.
func proxySetTickPeriod(v *VM, a []uint64) uint64 {
	v.context().root.tickPeriod = time.Duration(uint32(a[0])) * time.Millisecond
	return uint64(statusOK)
}
