package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// upstream is the real server that UPSTREAM names; the zero value: there is none, and the simulator answers.
type upstream struct {
	address string // host:port
	tls     bool
}

// parseUpstream reads UPSTREAM: host:port, or a URL without a path.
func parseUpstream(text string) (u upstream, err error) {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		scheme, rest = "http", text
	}
	if scheme != "http" && scheme != "https" {
		return u, fmt.Errorf("UPSTREAM: %s:// is neither http:// nor https://", scheme)
	}
	rest = strings.TrimSuffix(rest, "/")
	if host, path, has := strings.Cut(rest, "/"); has {
		return u, fmt.Errorf("UPSTREAM: leave out /%s: the path is the client's. Want %s://%s", path, scheme, host)
	}
	u.tls = scheme == "https"
	if port := map[bool]string{false: "80", true: "443"}[u.tls]; isURL && !regexp.MustCompile(`:\d+$`).MatchString(rest) {
		rest = net.JoinHostPort(strings.Trim(rest, "[]"), port)
	}
	if _, _, err := envoyproc.SplitAddress(rest); err != nil {
		return u, fmt.Errorf("UPSTREAM: %w", err)
	}
	u.address = rest
	return u, nil
}

// url is the server's, without a path.
func (u upstream) url() string {
	if u.tls {
		return "https://" + strings.TrimSuffix(u.address, ":443")
	}
	return "http://" + u.address
}

// name is the host that TLS and the Host header name.
func (u upstream) name() (host, authority string) {
	host, _, _ = net.SplitHostPort(u.address) // it was found to be one
	return host, strings.TrimPrefix(u.url(), "https://")
}

// rootFiles are where systems keep the certificates of those who sign servers' certificates.
var rootFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine
	"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
	"/etc/ssl/ca-bundle.pem",             // SUSE
	"/etc/ssl/cert.pem",                  // macOS
}

// roots is the file with the certificates that are believed: SSL_CERT_FILE, or the system's.
func roots(getenv func(string) string) (string, error) {
	if file := getenv("SSL_CERT_FILE"); file != "" {
		_, err := os.Stat(file)
		return file, err
	}
	at := slices.IndexFunc(rootFiles, func(file string) bool { _, err := os.Stat(file); return err == nil })
	if at < 0 {
		return "", errors.New("this system has no file of root certificates where it is looked for: SSL_CERT_FILE= names one")
	}
	return rootFiles[at], nil
}

// configure makes Envoy's requests go there.
func (u upstream) configure(b *envoyproc.Bootstrap) error {
	b.SetUpstream(u.address)
	if !u.tls {
		return nil
	}
	file, err := roots(os.Getenv)
	if err != nil {
		return err
	}
	host, authority := u.name()
	b.SetUpstreamTLS(host, authority, file)
	return nil
}

// found is what a look at the server has shown.
type found struct {
	err     error  // why it can't be reached
	metrics bool   // it has metrics that the exporter reads
	model   string // one that it serves; "": it doesn't say
}

// lookTimeout is how long a look at the server may take.
const lookTimeout = 3 * time.Second

// look asks the server what there is to know before anything is started.
func (u upstream) look(ctx context.Context) (f found) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	if u.tls {
		file, err := roots(os.Getenv)
		if err != nil {
			return found{err: err}
		}
		pem, err := os.ReadFile(file)
		if err != nil {
			return found{err: err}
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	models, err := u.get(ctx, client, "/v1/models")
	if err != nil {
		return found{err: err}
	}
	var list struct{ Data []struct{ ID string } }
	if json.Unmarshal(models, &list) == nil && len(list.Data) > 0 && isPlain.MatchString(list.Data[0].ID) {
		f.model = list.Data[0].ID
	}
	if metrics, err := u.get(ctx, client, "/metrics"); err == nil && !u.tls {
		f.metrics = ofEngine.Match(metrics)
	}
	return f
}

var (
	isPlain  = regexp.MustCompile(`^[\w./:@+-]{1,200}$`)                                    // it is printed in a command for a shell
	ofEngine = regexp.MustCompile(`(?m)^(ray_)?(vllm|sglang|trtllm|nv_trt_llm|dynamo)[:_]`) // what package engine of the exporter reads
)

// get returns the beginning of what the server has at path; nothing unless the status is 200. An error says that it can't be reached.
func (u upstream) get(ctx context.Context, client *http.Client, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url()+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer in %v", lookTimeout)
	case err != nil:
		return nil, errors.Unwrap(err) // without the URL, which the message around it names
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, nil
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return text, nil
}

// warning is what to say of a server that can't be reached; "": nothing.
func (u upstream) warning(f found) string {
	if f.err == nil {
		return ""
	}
	text := fmt.Sprintf("the server at %s can't be reached: %v. Until it can, clients get status 503.", u.url(), f.err)
	var unknown x509.UnknownAuthorityError
	if errors.As(f.err, &unknown) {
		text += " SSL_CERT_FILE= names a file with the certificates to believe."
	}
	return text
}
