package wasmhost

import (
	"fmt"
	"strings"
)

// duringAllocation is what the guest may call while the host has it allocate
// memory.
var duringAllocation = nameSet("proxy_log fd_write clock_time_get poll_oneoff")

// duringInitialisation is what the guest may call before its first context
// exists: of the proxy's own functions, only the log.
var duringInitialisation = nameSet("proxy_log fd_write args_sizes_get args_get environ_sizes_get " +
	"environ_get clock_time_get clock_res_get random_get poll_oneoff fd_fdstat_get " +
	"fd_fdstat_set_flags fd_prestat_get fd_prestat_dir_name fd_filestat_get fd_pread fd_pwrite " +
	"fd_readdir path_filestat_get path_readlink path_create_directory path_remove_directory " +
	"path_unlink_file path_rename path_link path_symlink path_filestat_set_times " +
	"fd_filestat_set_size fd_sync fd_tell sock_accept sock_recv sock_send sock_shutdown")

func nameSet(names string) map[string]bool {
	set := map[string]bool{}
	for n := range strings.FieldsSeq(names) {
		set[n] = true
	}
	return set
}

// enterHost runs before each host function: it counts the call, for the process
// and for the stream it concerns, and traps where it isn't allowed.
func (v *VM) enterHost(module, name string) {
	v.host.countCall(name)
	if s := v.context().stream; s != nil {
		s.Calls[name]++
	}
	if v.allowed != nil && !v.allowed[name] {
		panic(fmt.Errorf("restricted_callback: %s.%s", module, name))
	}
	if name != "poll_oneoff" && name != "clock_time_get" {
		v.idlePolls = 0
	}
}

// context is the context that a host function concerns: the effective one while
// it exists, else that of the call in progress.
func (v *VM) context() *wasmContext {
	if v.effective != 0 {
		if c, ok := v.contexts[v.effective]; ok {
			return c
		}
	}
	return v.current
}

// call runs one of the guest's functions for a context. Not ok means that the
// guest has no such function, or that the VM is dead.
func (v *VM) call(c *wasmContext, name string, args ...uint64) (value uint64, ok bool) {
	if v.err != nil {
		return 0, false
	}
	fn, ok := v.fns[name]
	if !ok {
		fn = v.mod.ExportedFunction(name)
		v.fns[name] = fn
	}
	if fn == nil {
		return 0, false
	}
	v.host.countCallback(name)
	if c.stream != nil {
		c.stream.Callbacks[name]++
	}
	cur, eff := v.current, v.effective
	v.current, v.effective, v.idlePolls = c, 0, 0
	res, err := fn.Call(v.ctx, args...)
	v.current, v.effective = cur, eff
	if err != nil {
		v.fail(fmt.Errorf("%s: %w", name, err))
		return 0, false
	}
	if len(res) > 0 {
		value = res[0]
	}
	return value, true
}

// result is what a callback came to.
type result struct {
	value uint64
	// called is false where the guest has no such function or is dead.
	called bool
	// stopped means that the guest sent a local response meanwhile.
	stopped bool
}

// callback calls the guest and then does what was put off until it returned. A
// stream whose callback finds the VM dead, or kills it, is answered with 503
// before that.
func (v *VM) callback(c *wasmContext, name string, args ...uint64) result {
	value, called := v.call(c, name, args...)
	r := result{value: uint64(uint32(value)), called: called, stopped: v.stopIteration}
	v.stopIteration = false
	if v.err != nil && c.stream != nil && filterCallbacks[name] {
		c.stream.failClosed()
	}
	v.runActions()
	return r
}

// filterCallbacks are those that Envoy's filter chain makes, and where it
// notices a dead VM.
var filterCallbacks = nameSet("proxy_on_request_headers proxy_on_request_body " +
	"proxy_on_request_trailers proxy_on_response_headers proxy_on_response_body " +
	"proxy_on_response_trailers")

// runActions does the deferred actions. One may call into the guest and so get
// here again; the inner run then finishes the list.
func (v *VM) runActions() {
	for len(v.actions) > 0 {
		f := v.actions[0]
		v.actions = v.actions[1:]
		f()
	}
}

// later puts an action off until the call in progress has returned.
func (v *VM) later(f func()) { v.actions = append(v.actions, f) }
