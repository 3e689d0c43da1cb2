package usage

import (
	"strings"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// names keeps the names of models that were read last: one that comes again takes no memory.
type names struct {
	kept [8]string
	next int // which one goes for another
}

// of gives a name that stays as it is, for one that stands in memory which is used again.
func (n *names) of(text []byte) string {
	name := inplace.String(text)
	for i := range n.kept {
		if n.kept[i] == name {
			return n.kept[i]
		}
	}
	at := &n.kept[n.next]
	*at = strings.Clone(name)
	n.next = (n.next + 1) % len(n.kept)
	return *at
}

// valid is of, with each byte replaced that is not UTF-8, as encoding/json does.
func (n *names) valid(text []byte) string {
	if !utf8.Valid(text) {
		return string([]rune(string(text)))
	}
	return n.of(text)
}
