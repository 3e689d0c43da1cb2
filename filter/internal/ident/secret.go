package ident

import (
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/config"
)

// Secret says that the values of a part of who asks, as an entry of a limit's "per" names it, are never to be shown: keys, what the
// configuration has hashed, cookies, and what is read from a header, a parameter or an attribute that is likely to hold what gives access by its name alone.
func Secret(c *config.Identity, per string) bool {
	switch per {
	case config.PerKey:
		return true
	case config.PerUser:
		return c.User.Hash || holdsSecrets(&c.User)
	case config.PerTenant:
		return c.Tenant.Hash || holdsSecrets(&c.Tenant)
	}
	name, header := strings.CutPrefix(per, config.PerHeader)
	return header && secretName(name)
}

func holdsSecrets(s *config.Source) bool {
	return slices.ContainsFunc(s.Places(), func(p config.Place) bool {
		named := len(p.Property) > 0 && secretName(p.Property[len(p.Property)-1])
		return named || len(p.Cookie) > 0 || slices.ContainsFunc(p.Headers, secretName) || slices.ContainsFunc(p.Query, secretName)
	})
}

// secretName goes by words that stand in names of headers and parameters that carry keys, tokens, passwords and sessions. Of a word too many the worst is a
// hash where a name could stand.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range [...]string{"auth", "token", "key", "secret", "cookie", "session", "pass", "pwd", "cred", "jwt", "signature", "assertion"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
