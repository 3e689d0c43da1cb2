package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this test binary be the program, for the tests that need a process.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestSignalsEndItWell(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			var log strings.Builder
			program := exec.Command(os.Args[0], "--simulate=steady", "--listen=127.0.0.1:0")
			program.Env = append(os.Environ(), "TEST_AS_PROGRAM=1")
			stderr, err := program.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			watchdog := time.AfterFunc(patience, func() { _ = program.Process.Kill() })
			defer watchdog.Stop()
			buffer := make([]byte, 4096)
			for sent := false; ; {
				n, err := stderr.Read(buffer)
				log.Write(buffer[:n])
				if err != nil {
					break
				}
				if !sent && strings.Contains(log.String(), "gpuexporter is up") {
					sent = true
					if err := program.Process.Signal(signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := program.Wait(); err != nil || !strings.Contains(log.String(), "stopping") {
				t.Errorf("%v:\n%s", err, log.String())
			}
		})
	}
}
