package freeport

import (
	"fmt"
	"net"
	"runtime"
	"testing"
)

func TestTake(t *testing.T) {
	taken := map[int]bool{}
	for range 200 {
		port, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		if taken[port] || port < first || port > last {
			t.Fatalf("%d: given twice, or of the kernel's ephemeral range", port)
		}
		taken[port] = true
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatalf("what is given can't be listened at: %v", err)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC() // which would close what nobody holds
	for port := range taken {
		if hold(port) {
			t.Errorf("%d is given a second time", port)
		}
	}
}

func TestTakenByOthers(t *testing.T) {
	port, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp4", "udp4"} { // a server, and another process that was given it
		var other interface{ Close() error }
		for range 100 { // other tests may have been given the next one
			if network == "tcp4" {
				other, err = net.Listen(network, fmt.Sprintf("127.0.0.1:%d", port+1))
			} else {
				other, err = net.ListenPacket(network, fmt.Sprintf("127.0.0.1:%d", port+1))
			}
			if err == nil {
				break
			}
			if port, err = Take(); err != nil {
				t.Fatal(err)
			}
		}
		if other == nil || err != nil {
			t.Fatal(err)
		}
		if hold(port + 1) {
			t.Errorf("%s: a port that is in use is given", network)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
