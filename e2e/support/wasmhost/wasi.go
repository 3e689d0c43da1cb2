package wasmhost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The errors of WASI that the host answers with.
const (
	wasiOK      = 0
	wasiBadf    = 8
	wasiFault   = 21
	wasiInval   = 28
	wasiNoent   = 44
	wasiNosys   = 52
	wasiNotsup  = 58
	wasiMaxRand = 64 << 10

	stdout, stderr = 1, 2
)

// maxIdlePolls is how often in a row the guest may wait without doing anything
// else before it counts as asleep. In Envoy it would spin on its worker's thread
// until the time has passed; here time stands still, so it would spin for ever.
const maxIdlePolls = 100_000

// errAsleep is the trap of a guest that waits for time to pass.
var errAsleep = errors.New("the guest sleeps: in Envoy it would spin, and block its worker")

// wasiFunctions are the preview1 functions that Envoy offers and that a Go
// program can import. They are the host's own rather than wazero's, because
// Envoy's differ: there are no files, no arguments and no waiting, and the clocks
// are the test's.
func wasiFunctions() []hostFunction {
	return []hostFunction{
		{"args_sizes_get", "ii", "i", wasiTwoZeros},
		{"args_get", "ii", "i", wasiAnswer(wasiOK)},
		{"environ_sizes_get", "ii", "i", wasiEnvironSizesGet},
		{"environ_get", "ii", "i", wasiEnvironGet},
		{"clock_time_get", "ili", "i", wasiClockTimeGet},
		{"clock_res_get", "ii", "i", wasiClockResGet},
		{"random_get", "ii", "i", wasiRandomGet},
		{"sched_yield", "", "i", wasiAnswer(wasiOK)},
		{"poll_oneoff", "iiii", "i", wasiPollOneoff},
		{"proc_exit", "i", "", wasiProcExit},
		{"fd_write", "iiii", "i", wasiFdWrite},
		{"fd_read", "iiii", "i", wasiAnswer(wasiNosys)},
		{"fd_pread", "iiili", "i", wasiAnswer(wasiNosys)},
		{"fd_seek", "ilii", "i", wasiAnswer(wasiOK)},
		{"fd_close", "i", "i", wasiAnswer(wasiOK)},
		{"fd_fdstat_get", "ii", "i", wasiFdFdstatGet},
		{"fd_fdstat_set_flags", "ii", "i", wasiAnswer(wasiNosys)},
		{"fd_filestat_get", "ii", "i", wasiAnswer(wasiBadf)},
		{"fd_prestat_get", "ii", "i", wasiAnswer(wasiBadf)},
		{"fd_prestat_dir_name", "iii", "i", wasiAnswer(wasiNosys)},
		{"fd_readdir", "iiili", "i", wasiAnswer(wasiNotsup)},
		{"path_open", "iiiiillii", "i", wasiAnswer(wasiNoent)},
		{"path_filestat_get", "iiiii", "i", wasiAnswer(wasiNotsup)},
		{"path_readlink", "iiiiii", "i", wasiAnswer(wasiNotsup)},
		{"path_create_directory", "iii", "i", wasiAnswer(wasiNotsup)},
		{"path_remove_directory", "iii", "i", wasiAnswer(wasiNotsup)},
		{"path_unlink_file", "iii", "i", wasiAnswer(wasiNotsup)},
	}
}

// wasiAnswer is a function that does nothing but answer.
func wasiAnswer(errno uint64) func(*VM, []uint64) uint64 {
	return func(*VM, []uint64) uint64 { return errno }
}

func wasiTwoZeros(v *VM, a []uint64) uint64 {
	if !v.writeU32(a[0], 0) || !v.writeU32(a[1], 0) {
		return wasiFault
	}
	return wasiOK
}

// environ is the VM's environment in a fixed order, as NUL-terminated strings.
func (v *VM) environ() []string {
	env := v.host.opts.Env
	var out []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k]+"\x00")
	}
	return out
}

func wasiEnvironSizesGet(v *VM, a []uint64) uint64 {
	env := v.environ()
	if !v.writeU32(a[0], uint32(len(env))) || !v.writeU32(a[1], uint32(len(strings.Join(env, "")))) {
		return wasiFault
	}
	return wasiOK
}

func wasiEnvironGet(v *VM, a []uint64) uint64 {
	array, buf := a[0], a[1]
	for _, e := range v.environ() {
		if !v.writeU32(array, uint32(buf)) || !v.write(buf, []byte(e)) {
			return wasiFault
		}
		array += 4
		buf += uint64(len(e))
	}
	return wasiOK
}

// wasiClockTimeGet reads the test's clocks.
func wasiClockTimeGet(v *VM, a []uint64) uint64 {
	var t uint64
	switch a[0] {
	case 0:
		t = uint64(v.host.Now().UnixNano())
	case 1:
		t = uint64(v.host.monotonic())
	default:
		return wasiNotsup
	}
	if !v.writeU64(a[2], t) {
		return wasiFault
	}
	return wasiOK
}

func wasiClockResGet(v *VM, a []uint64) uint64 {
	if a[0] > 1 {
		return wasiNotsup
	}
	if !v.writeU64(a[1], 1) {
		return wasiFault
	}
	return wasiOK
}

func wasiRandomGet(v *VM, a []uint64) uint64 {
	size := uint32(a[1])
	if size > wasiMaxRand {
		return wasiInval
	}
	b := make([]byte, size)
	if _, err := v.random.Read(b); err != nil {
		return wasiInval
	}
	if !v.write(a[0], b) {
		return wasiFault
	}
	return wasiOK
}

// wasiPollOneoff returns at once, without an event.
func wasiPollOneoff(v *VM, a []uint64) uint64 {
	v.idlePolls++
	if v.idlePolls > maxIdlePolls {
		panic(errAsleep)
	}
	if !v.writeU32(a[3], 0) {
		return wasiFault
	}
	return wasiOK
}

// wasiProcExit ends the VM. Envoy only logs the call and returns; the Go runtime
// then runs into its own trap, so that the end is the same.
func wasiProcExit(_ *VM, a []uint64) uint64 {
	panic(fmt.Errorf("proc_exit(%d)", uint32(a[0])))
}

// wasiFdWrite logs what the guest writes: stdout as info, stderr as error.
func wasiFdWrite(v *VM, a []uint64) uint64 {
	level := LevelInfo
	switch uint32(a[0]) {
	case stdout:
	case stderr:
		level = LevelError
	default:
		return wasiBadf
	}
	var text []byte
	for i := range uint64(uint32(a[2])) {
		iov, ok := v.read(a[1]+8*i, 8)
		if !ok {
			return wasiFault
		}
		b, ok := v.read(uint64(binary.LittleEndian.Uint32(iov)), uint64(binary.LittleEndian.Uint32(iov[4:])))
		if !ok {
			return wasiFault
		}
		text = append(text, b...)
	}
	if len(text) > 0 {
		v.host.log(LogLine{VM: v.id, Context: v.context().id, Level: level,
			Message: strings.TrimSuffix(string(text), "\n")})
	}
	if !v.writeU32(a[3], uint32(len(text))) {
		return wasiFault
	}
	return wasiOK
}

// wasiFdFdstatGet knows stdout and stderr, which may be written.
func wasiFdFdstatGet(v *VM, a []uint64) uint64 {
	if fd := uint32(a[0]); fd != stdout && fd != stderr {
		return wasiBadf
	}
	stat := make([]byte, 24)
	stat[8] = 64 // The right to write.
	if !v.write(a[1], stat) {
		return wasiFault
	}
	return wasiOK
}
