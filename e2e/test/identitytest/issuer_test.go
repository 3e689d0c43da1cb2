package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"
)

const issuer = "https://id.example"

// keys are an identity provider's, one of each kind.
type keys struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &keys{r, newECKey(t)}
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encodeJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// jwks is what others verify its tokens by (RFC 7517).
func (k *keys) jwks(t *testing.T) string {
	t.Helper()
	public, err := k.ec.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	return string(encodeJSON(t, map[string]any{"keys": []any{
		map[string]any{"kty": "RSA", "kid": "RS256", "alg": "RS256", "n": encode(k.rsa.N.Bytes()), "e": encode(big.NewInt(int64(k.rsa.E)).Bytes())},
		map[string]any{"kty": "EC", "kid": "ES256", "alg": "ES256", "crv": "P-256", "x": encode(public[1:33]), "y": encode(public[33:])},
	}}))
}

// token is a signed one (RFC 7519) whose subject is sub. algorithm "none" signs nothing.
func (k *keys) token(t *testing.T, algorithm string, sub string) string {
	t.Helper()
	return k.tokenOf(t, algorithm, map[string]any{"sub": sub})
}

// tokenOf is one with other claims.
func (k *keys) tokenOf(t *testing.T, algorithm string, claims map[string]any) string {
	t.Helper()
	claims["iss"], claims["exp"] = issuer, time.Now().Add(time.Hour).Unix()
	header := encodeJSON(t, map[string]any{"alg": algorithm, "kid": algorithm, "typ": "JWT"})
	signed := encode(header) + "." + encode(encodeJSON(t, claims))
	digest := sha256.Sum256([]byte(signed))
	switch algorithm {
	case "RS256":
		signature, err := rsa.SignPKCS1v15(rand.Reader, k.rsa, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + encode(signature)
	case "ES256":
		r, s, err := ecdsa.Sign(rand.Reader, k.ec, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	}
	return signed + "."
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newECKey(t)}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: rand.Text()}, SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pem() string { return encodePEM("CERTIFICATE", a.certificate.Raw) }

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// issue gives a certificate and its key, of a server or a client that is known by a URI.
func (a *authority) issue(t *testing.T, uri string) (certificate, key string) {
	t.Helper()
	own := newECKey(t)
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{u}, DNSNames: []string{"gateway"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, own.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return encodePEM("CERTIFICATE", der), encodePEM("PRIVATE KEY", secret)
}

// client is the TLS configuration of a client; uri "" is one without a certificate.
func (a *authority) client(t *testing.T, uri string) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	c := &tls.Config{RootCAs: roots, ServerName: "gateway", MinVersion: tls.VersionTLS12}
	if uri != "" {
		certificate, err := tls.X509KeyPair(both(a.issue(t, uri)))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{certificate}
	}
	return c
}

func both(a, b string) ([]byte, []byte) { return []byte(a), []byte(b) }
