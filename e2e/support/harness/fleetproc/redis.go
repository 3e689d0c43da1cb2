package fleetproc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// commandTimeout bounds one command. Redis answers in less than a millisecond.
const commandTimeout = 30 * time.Second

// Command sends one command to the Redis at a port of 127.0.0.1, and returns the strings of its answer.
func Command(port int, args ...string) ([]string, error) {
	connection, err := dial(port)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(commandTimeout))
	request := fmt.Sprintf("*%d\r\n", len(args))
	for _, arg := range args {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(connection, request); err != nil {
		return nil, err
	}
	return readReply(bufio.NewReader(connection))
}

// readReply reads a reply of Redis's protocol, RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/).
func readReply(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, value := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '+', ':':
		return []string{value}, nil
	case '-':
		return nil, errors.New(value)
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return nil, err // a negative length is nothing
	}
	if kind == '$' {
		text := make([]byte, n+len("\r\n"))
		_, err := io.ReadFull(r, text)
		return []string{string(text[:n])}, err
	}
	var all []string
	for range n {
		element, err := readReply(r)
		if err != nil {
			return nil, err
		}
		all = append(all, element...)
	}
	return all, nil
}

// Charged is what ratelimit has counted in Redis under the keys of a pattern, in whatever window.
func Charged(port int, pattern string) (total int, err error) {
	keys, err := Command(port, "KEYS", pattern)
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		values, err := Command(port, "GET", key)
		if err != nil {
			return 0, err
		}
		for _, value := range values {
			n, err := strconv.Atoi(value)
			if err != nil {
				return 0, fmt.Errorf("redis has %q for %q, want a number", value, key)
			}
			total += n
		}
	}
	return total, nil
}
