//go:build !linux

package main

import (
	"errors"
	"time"
)

func cpuTime(int) (time.Duration, error) {
	return 0, errors.New("the CPU time of another process can only be measured on Linux")
}

func groupMembers(int) ([]int, error) {
	return nil, errors.New("the processes of a group can only be found on Linux")
}

func pause(d time.Duration) { time.Sleep(d) }

func waitedForCore(int) (time.Duration, error) { return 0, nil }
