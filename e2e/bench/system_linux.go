package main

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

// cpuTime is the CPU time, user and system, that all threads of a process have used. The clock of the process has it in
// nanoseconds, where /proc has it in ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED: see clock_getcpuclockid(3)
	clock := ^pid<<3 | scheduled
	var now syscall.Timespec
	_, _, failure := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&now)), 0)
	if failure != 0 {
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, failure)
	}
	return time.Duration(now.Nano()), nil
}

// pause sleeps for d. Unlike time.Sleep, which an idle program's timer rounds up to a millisecond, it is good for the
// intervals between requests.
func pause(d time.Duration) {
	if d > 0 {
		request := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&request, nil) // when a signal cuts it short, one request leaves early
	}
}
