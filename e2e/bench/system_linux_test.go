package main

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// What a gateway's processes start is of the gateway, too.
func TestMembersOfAGroupAreAllItsProcesses(t *testing.T) {
	t.Parallel()
	process, err := envoyproc.Start(exec.Command("sh", "-c", "sleep 600 & wait"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop(stopGrace) })
	g := &gateway{processes: []*envoyproc.Process{process}}
	var ids []int
	if err := process.Await(t.Context(), func() bool {
		ids, err = g.all()
		return err != nil || len(ids) == 2
	}); err != nil || !slices.Contains(ids, process.PID()) || slices.Contains(ids, os.Getpid()) {
		t.Fatalf("%v, %v", ids, err)
	}
	if memory, err := g.memory(); err != nil || memory == 0 {
		t.Errorf("memory %v, %v", memory, err)
	}
	if _, err := g.cpu(); err != nil {
		t.Error(err)
	}
}
