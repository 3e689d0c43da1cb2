package steps_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Commands run side by side: each of these waits for the other.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("./steps.sh", "one|echo hello > "+pipe, "two|cat "+pipe).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " s  one: done\n") || !strings.Contains(string(out), " s  two: done\n") || strings.Contains(string(out), "hello") {
		t.Errorf("%v: %s", err, out)
	}
}

// While something takes long, it says what, with the last that was heard of it, in one line.
func TestSaysWhatIsNotDone(t *testing.T) {
	t.Parallel()
	goOn := filepath.Join(t.TempDir(), "go-on")
	wait := "until [ -e " + goOn + " ]; do sleep 0.1; done"
	command := exec.Command("./steps.sh", "slow|echo one; echo fetching; "+wait, "mute|"+wait)
	command.Env = append(os.Environ(), "STEPS_EVERY=1")
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), "s  … slow: fetching; mute") {
		t.Errorf("it said %q", lines.Text())
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	if err := command.Wait(); err != nil || !strings.HasSuffix(last, ": done") {
		t.Errorf("it ended with %v, and %q", err, last)
	}
}

// What fails is shown, and ends the rest with all that it has started.
func TestFailureEndsAll(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe") // who holds it open is still there
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("./steps.sh", "long|(exec sleep 1000) > "+pipe, "bad|read line < "+pipe+"; echo out of order; exit 3")
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	write, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = write.WriteString("go\n")
	_ = write.Close()
	if err := command.Wait(); err == nil || command.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, want status 1", err)
	}
	if text := out.String(); !strings.Contains(text, "bad: FAILED\nout of order\n") {
		t.Errorf("it said %q", text)
	}
	awaitNoWriter(t, pipe)
}

// Where no Envoy can be fetched, that is said at once, with what to do.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		machine, libc string
		fails         bool
	}{
		"Linux":            {"Linux x86_64", "glibc 2.36", false},
		"Linux on arm64":   {"Linux aarch64", "glibc 2.36", false},
		"Linux with musl":  {"Linux x86_64", "", true},
		"macOS":            {"Darwin arm64", "", false},
		"macOS on Intel's": {"Darwin x86_64", "", true},
		"Windows":          {"MINGW64_NT-10.0 x86_64", "", true},
	} {
		system, machine, _ := strings.Cut(c.machine, " ")
		bin := t.TempDir()
		for program, script := range map[string]string{
			"uname": `case "$1" in -s) echo ` + system + `;; -m) echo ` + machine + `;; *) echo ` + c.machine + `;; esac`, "getconf": "echo " + c.libc, "go": "", "python3": "",
		} {
			if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		command := exec.Command("make", "-s", "-C", "../..", "platform")
		command.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+bin, "ENVOY=", "MAKEFLAGS=")
		out, err := command.CombinedOutput()
		if (err != nil) != c.fails || c.fails && !strings.Contains(string(out), "ENVOY=/path/to/envoy is one of yours") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

// awaitNoWriter waits until nobody has the pipe open for writing: to read is then at its end at once.
func awaitNoWriter(t *testing.T, pipe string) {
	t.Helper()
	read, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	if err := read.SetReadDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := read.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("what it started still runs: %v", err)
	}
}
