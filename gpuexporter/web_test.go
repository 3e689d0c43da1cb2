package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert = &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	certificate := a.sign(t, a.cert)
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = leaf, certificate.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(leaf)
	return a
}

// sign makes a certificate: before there is a key of the authority, its own.
func (a *authority) sign(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes a server's certificate, its key and the authority's certificate into a directory.
func (a *authority) files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	server := a.sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"server.crt": {Type: "CERTIFICATE", Bytes: server.Certificate[0]},
		"server.key": {Type: "PRIVATE KEY", Bytes: key},
		"ca.crt":     {Type: "CERTIFICATE", Bytes: a.cert.Raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// webConfig writes the exporter-toolkit's file.
func webConfig(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "web.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func users(t *testing.T, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("basic_auth_users: {%s: %q}\n", name, hash)
}

// secured is the status of an answer over TLS, and 0 where there is none.
func (a *authority) secured(t *testing.T, url, user, password string, client ...tls.Certificate) int {
	t.Helper()
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.pool, Certificates: client}}}
	defer c.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(url, "http:", "https:", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	response, err := c.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TLS and passwords, which change without a restart, and a peer that has both.
func TestTLSAndPasswords(t *testing.T) {
	a := newAuthority(t)
	dir := a.files(t)
	const secure = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
	file := webConfig(t, dir, secure+users(t, "ann", "old"))
	address, stop := program(t, without, "--simulate=steady", "--web.config.file="+file)
	await(t, func() bool { return a.secured(t, address+"/readyz", "ann", "old") == 200 })
	for _, path := range []string{"/metrics", "/v1/pressure", "/healthz", "/readyz", "/"} {
		if plain, _ := ask(address + path); plain != 400 {
			t.Errorf("%s: %d without TLS", path, plain)
		}
		for user, want := range map[string]int{"ann:old": 200, "ann:new": 401, "bob:old": 401, "": 401} {
			name, password, _ := strings.Cut(user, ":")
			if got := a.secured(t, address+path, name, password); got != want {
				t.Errorf("%s as %q: %d, want %d", path, user, got, want)
			}
		}
	}
	webConfig(t, dir, secure+users(t, "ann", "new"))
	if old, renewed := a.secured(t, address+"/metrics", "ann", "old"), a.secured(t, address+"/metrics", "ann", "new"); old != 401 || renewed != 200 {
		t.Errorf("after the change %d with the old password, %d with the new one", old, renewed)
	}

	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ca.crt"))
	u, err := url.Parse(strings.Replace(address, "http:", "https:", 1))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("ann", "new")
	reader, stopReader := program(t, without, "--nvml=off", "--peer="+u.String())
	await(t, func() bool { return len(read(t, reader).Instances) == 2 })
	for _, stop := range []func() (int, string){stopReader, stop} {
		if status, log := stop(); status != 0 || strings.Contains(log, ":new@") {
			t.Errorf("status %d:\n%s", status, log)
		}
	}
}

// What Envoy can do: show a certificate.
func TestClientCertificates(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	dir := a.files(t)
	file := webConfig(t, dir, "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert}\n")
	address, stop := program(t, without, "--simulate=steady", "--web.config.file="+file)
	usage := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	ours, theirs := a.sign(t, usage), other.sign(t, usage)
	await(t, func() bool { return a.secured(t, address+"/readyz", "", "", ours) == 200 })
	if none, foreign := a.secured(t, address+"/v1/pressure", "", ""), a.secured(t, address+"/v1/pressure", "", "", theirs); none != 0 || foreign != 0 {
		t.Errorf("%d without a certificate, %d with another's", none, foreign)
	}
	stop()
}

// dcgm-exporter instead of NVML: the document for the filter has its GPUs, and they are the server's.
func TestDCGMExporterAsASource(t *testing.T) {
	text, err := os.ReadFile("internal/dcgm/testdata/dcgm-exporter-4.8.txt")
	if err != nil {
		t.Fatal(err)
	}
	dcgm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	defer dcgm.Close()
	vllm, err := os.ReadFile("internal/engine/testdata/vllm-0.32.0.txt")
	if err != nil {
		t.Fatal(err)
	}
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(vllm) }))
	defer engine.Close()
	address, stop := program(t, without, "--dcgm="+dcgm.URL, "--engine=vllm="+engine.URL, "--engine-gpus=vllm=0")
	var d pressure.Document
	await(t, func() bool { d = read(t, address); return len(d.Instances) == 2 })
	rest, served := d.Instances[0], d.Instances[1]
	if rest.Name != "n" || served.Name != "n/vllm" || len(rest.GPUs) != 1 || len(served.GPUs) != 1 {
		t.Fatalf("%+v", d)
	}
	if g := served.GPUs[0]; *g.MemoryUsedBytes != 73847<<20 || *g.MemoryTotalBytes != 80<<30 || *g.Utilization != 0.87 || !*g.Throttled {
		t.Errorf("%+v", g)
	}
	metrics := scrape(t, address)
	if up := metrics.Of("gpuexporter_source_up", "kind", "dcgm", "source", dcgm.URL+"/metrics"); len(up) != 1 || up.Sum() != 1 {
		t.Errorf("%+v", up)
	}
	if power := metrics.Of("gpuexporter_gpu_power_watts", "gpu", "0", "name", "NVIDIA A100-SXM4-80GB"); power.Sum() != 391.25 {
		t.Errorf("%+v", power)
	}
	if status, log := stop(); status != 0 || strings.Contains(log, "no GPU to measure") {
		t.Errorf("status %d:\n%s", status, log)
	}
}
