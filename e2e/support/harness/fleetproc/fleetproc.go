// Package fleetproc runs what the Envoys of a fleet share: envoyproxy/ratelimit, with the limits of this repository, and the
// Redis behind it.
//
// It knows nothing of tests: fleettest builds on it, and spillway-run for `make run-fleet`.
package fleetproc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// Programs are what a fleet needs beside Envoy.
type Programs struct{ Redis, Ratelimit string }

// Locate finds the programs by what `make` exports; the error names everything that is missing, and says what to run.
func Locate() (p Programs, err error) {
	var redisErr, ratelimitErr error
	p.Redis, redisErr = locate("REDIS_SERVER", "redis-server", "Redis", "make redis")
	p.Ratelimit, ratelimitErr = locate("RATELIMIT", "ratelimit", "envoyproxy/ratelimit", "make ratelimit")
	return p, errors.Join(redisErr, ratelimitErr)
}

func locate(variable, name, what, command string) (string, error) {
	chosen := os.Getenv(variable)
	if chosen == "" {
		chosen = name
	}
	path, err := exec.LookPath(chosen)
	if err != nil {
		return "", fmt.Errorf("no %s: run `%s`, which says where it is, or set %s to one you have: %w", what, command, variable, err)
	}
	return filepath.Abs(path)
}

// StartRedis starts Redis on 127.0.0.1 and waits until it answers. Its data is kept in dir, by an append-only file; with an
// empty dir in memory alone. The process is returned also with an error, to be stopped.
func StartRedis(ctx context.Context, binary string, port int, dir string, output io.Writer) (*envoyproc.Process, error) {
	args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--loglevel", "warning"}
	if dir != "" {
		args = append(args, "--dir", dir, "--appendonly", "yes")
	}
	command := exec.Command(binary, args...)
	command.Dir = os.TempDir() // Redis writes nothing there, and must not be able to
	command.Stdout, command.Stderr = output, output
	p, err := envoyproc.Start(command)
	if err != nil {
		return nil, err
	}
	if err := p.Await(ctx, func() bool { return answersPing(port) }); err != nil {
		return p, fmt.Errorf("await Redis: %w", err)
	}
	return p, nil
}

// answersPing says whether Redis serves, which it doesn't while it is loading its data.
func answersPing(port int) bool {
	connection, err := dial(port)
	if err != nil {
		return false
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(connection, "PING\r\n"); err != nil {
		return false
	}
	line, _ := bufio.NewReader(connection).ReadString('\n')
	return strings.HasPrefix(line, "+PONG")
}

// StartRatelimit starts ratelimit on 127.0.0.1, with the limits of runtimeRoot/ratelimit/config (the repository's are in
// envoy/ratelimit/config), and waits until it serves: gRPC at port, HTTP at httpPort (0: at any). The process is returned also with an error, to be stopped.
func StartRatelimit(ctx context.Context, binary string, port, httpPort, redisPort int, runtimeRoot string, output io.Writer) (*envoyproc.Process, error) {
	command := exec.Command(binary)
	command.Env = append(os.Environ(), ratelimitEnv(port, httpPort, redisPort, runtimeRoot)...)
	command.Stdout, command.Stderr = output, output
	p, err := envoyproc.Start(command)
	if err != nil {
		return nil, err
	}
	if err := p.Await(ctx, func() bool { return accepts(port) && (httpPort == 0 || accepts(httpPort)) }); err != nil {
		return p, fmt.Errorf("await ratelimit: %w", err)
	}
	return p, nil
}

// ratelimitEnv is the service's configuration; envoy/ratelimit/README.md has the same for users.
func ratelimitEnv(port, httpPort, redisPort int, runtimeRoot string) []string {
	return []string{
		"GRPC_HOST=127.0.0.1", "GRPC_PORT=" + strconv.Itoa(port),
		"HOST=127.0.0.1", "PORT=" + strconv.Itoa(httpPort), "DEBUG_HOST=127.0.0.1", "DEBUG_PORT=0", // the latter is not used: any port will do
		"REDIS_SOCKET_TYPE=tcp", "REDIS_TYPE=SINGLE", "REDIS_URL=" + address(redisPort),
		"REDIS_HEALTH_CHECK_ACTIVE_CONNECTION=true",
		"RUNTIME_ROOT=" + runtimeRoot, "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_WATCH_ROOT=false",
		"USE_STATSD=false", "DISABLE_STATS=true", "LOG_LEVEL=error",
	}
}

func accepts(port int) bool {
	connection, err := dial(port)
	if err != nil {
		return false
	}
	_ = connection.Close()
	return true
}

func dial(port int) (net.Conn, error) { return net.DialTimeout("tcp", address(port), time.Second) }

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
