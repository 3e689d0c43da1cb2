// Package freeport gives ports of this machine to programs that must be told theirs before they start.
//
// What listens at port 0 and is closed again gives a port of the kernel's ephemeral range, and until the program listens there
// (Envoy compiles the filter first: half a minute on a busy machine), the next connection that anybody makes may have it. So
// these are below that range, and each is one process's until it ends, which holds the UDP port of the same number for it.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports from first to last are given: Linux takes those of connections from 32768 on, macOS from 49152.
const first, last = 10000, 32767

var (
	mu   sync.Mutex
	held []*net.UDPConn // what nobody refers to, the garbage collector closes
)

// Take returns a port of 127.0.0.1 at which nobody listens. No other process that asks here gets it before this one ends.
func Take() (int, error) {
	const tries = 1000 // of 22,768: all of them taken means that something is wrong
	for range tries {
		port := first + rand.IntN(last-first+1)
		if hold(port) {
			return port, nil
		}
	}
	return 0, errors.New("no port is free from 10000 to 32767")
}

// hold takes a port for this process, if it is free.
func hold(port int) bool {
	ip := net.IPv4(127, 0, 0, 1)
	holder, err := net.ListenUDP("udp4", &net.UDPAddr{IP: ip, Port: port})
	if err != nil {
		return false
	}
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: ip, Port: port})
	if err != nil {
		_ = holder.Close()
		return false
	}
	mu.Lock()
	held = append(held, holder)
	mu.Unlock()
	return listener.Close() == nil
}
