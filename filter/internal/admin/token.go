package admin

import (
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/sha256"
)

// MostWrong is how many wrong tokens a worker looks at in WrongPeriod; to more it says to come back when that is over.
const (
	MostWrong   = 10
	WrongPeriod = time.Minute
)

// guard knows the tokens that are good.
type guard struct {
	hashes [][32]byte
	names  []string     // whose they are: the first 8 digits of each
	since  clock.Moment // when the first of the wrong tokens came
	wrong  int          // tokens since then
}

func newGuard(tokens []string) (g guard) {
	for _, token := range tokens {
		hash := sha256.Parse(strings.TrimPrefix(token, config.TokenHash))
		g.hashes, g.names = append(g.hashes, hash), append(g.names, hexadecimal(hash[:4]))
	}
	return g
}

// look says whether a token is good, and whose it is: the first digits of its hash. It takes as long for each.
func (g *guard) look(authorization string) (given, good bool, who string) {
	const scheme = "bearer "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return false, false, ""
	}
	hash := sha256.Sum(strings.TrimSpace(authorization[len(scheme):]))
	for i := range g.hashes {
		if same(&g.hashes[i], &hash) {
			good, who = true, g.names[i]
		}
	}
	return true, good, who
}

// refuse takes note of a wrong token, and says how long to wait after too many; 0: it was not one too many.
func (g *guard) refuse(now clock.Moment) (wait time.Duration) {
	if age := now.Sub(g.since); g.wrong == 0 || age < 0 || age >= WrongPeriod {
		g.since, g.wrong = now, 0
	}
	if g.wrong >= MostWrong {
		return WrongPeriod - now.Sub(g.since)
	}
	g.wrong++
	return 0
}

// same compares two hashes in a time that doesn't depend on them.
func same(a, b *[32]byte) bool {
	var differs byte
	for i := range a {
		differs |= a[i] ^ b[i]
	}
	return differs == 0
}

func hexadecimal(b []byte) string {
	const digits = "0123456789abcdef"
	text := make([]byte, 0, 2*len(b))
	for _, c := range b {
		text = append(text, digits[c>>4], digits[c&15])
	}
	return string(text)
}
