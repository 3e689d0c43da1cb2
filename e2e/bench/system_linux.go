package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// groupMembers are the ids of the processes that are in a process group: the one that it is called by, and what that has started.
func groupMembers(group int) (ids []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, failure := os.ReadFile(file)
		if failure != nil {
			continue // it has ended
		}
		// The name, in parentheses, may have anything in it; then come state, parent and group: see proc_pid_stat(5).
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		if fields := strings.Fields(rest); len(fields) < 3 || fields[2] != strconv.Itoa(group) {
			continue
		}
		id, failure := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if failure != nil {
			return nil, failure
		}
		ids = append(ids, id)
	}
	return ids, err
}

// waitedForCore is how long all threads of a process together were ready to run, and weren't let.
func waitedForCore(pid int) (total time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		fields := strings.Fields(string(text))
		if err != nil || len(fields) < 2 {
			continue // the thread has ended, or the kernel doesn't say
		}
		waited, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", file, err)
		}
		total += time.Duration(waited)
	}
	return total, nil
}

// pause sleeps for d. Unlike time.Sleep, which an idle program's timer rounds up to a millisecond, it is good for the
// intervals between requests.
func pause(d time.Duration) {
	if d > 0 {
		request := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&request, nil) // when a signal cuts it short, one request leaves early
	}
}
