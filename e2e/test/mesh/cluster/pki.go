package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files of the PKI, in Cluster.Dir.
const (
	caCert          = "ca.crt"
	serverCert      = "apiserver.crt"
	serverKey       = "apiserver.key"
	adminCert       = "admin.crt"
	adminKey        = "admin.key"
	serviceAccounts = "service-accounts" // .key signs the tokens of ServiceAccounts, .pub verifies them
)

// firstServiceIP is the address of the Service "kubernetes", the first of serviceNetwork.
const (
	serviceNetwork = "10.96.0.0/16"
	firstServiceIP = "10.96.0.1"
)

// writePKI makes the keys and certificates of an API server and of its administrator.
func writePKI(dir string) error {
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a := authority{dir: dir, cert: ca}
	a.key = a.newKey()
	a.sign(caCert, ca, a.key)
	a.leaf(serverCert, serverKey, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(NodeIP), net.ParseIP(firstServiceIP)},
	})
	a.leaf(adminCert, adminKey, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	tokens := a.newKey()
	a.writeKey(serviceAccounts+".key", tokens)
	public, err := x509.MarshalPKIXPublicKey(tokens.Public())
	a.fail(err)
	a.write(serviceAccounts+".pub", "PUBLIC KEY", public)
	return a.err
}

// authority signs certificates. The first error is kept, and nothing is done after it.
type authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
	err    error
}

func (a *authority) leaf(certFile, keyFile string, template *x509.Certificate) {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	key := a.newKey()
	a.writeKey(keyFile, key)
	a.sign(certFile, template, key)
}

func (a *authority) sign(file string, template *x509.Certificate, key crypto.Signer) {
	if a.err != nil {
		return
	}
	a.serial++
	template.SerialNumber = big.NewInt(a.serial)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	cert, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	a.fail(err)
	a.write(file, "CERTIFICATE", cert)
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.fail(err)
	return key
}

func (a *authority) writeKey(file string, key *ecdsa.PrivateKey) {
	if a.err != nil {
		return
	}
	text, err := x509.MarshalECPrivateKey(key)
	a.fail(err)
	a.write(file, "EC PRIVATE KEY", text)
}

func (a *authority) write(file, kind string, content []byte) {
	if a.err != nil {
		return
	}
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
	a.fail(os.WriteFile(filepath.Join(a.dir, file), text, 0o600))
}

func (a *authority) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}
