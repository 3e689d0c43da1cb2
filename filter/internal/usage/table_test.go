package usage

import "testing"

// What a dialect must say, and how.
func TestADialectIsComplete(t *testing.T) {
	suffixes := map[string]string{}
	for _, d := range dialects {
		for field, missing := range map[string]bool{
			"requestPaths": d.requestPaths == nil, "request": d.request == nil, "responsePaths": d.responsePaths == nil,
			"response": d.response == nil, "silent": d.silent == nil, "Errors": d.Errors == nil,
		} {
			if missing {
				t.Errorf("%s has no %s: a dialect needs it (docs/adding-a-dialect.md)", d.Name, field)
			}
		}
		if byName(d.Name) != d {
			t.Errorf("two dialects are called %s", d.Name)
		}
		for _, r := range d.routes {
			if other, taken := suffixes[r.suffix]; taken && r.within == "" && !r.unread {
				t.Errorf("%s and %s have the suffix %s", other, d.Name, r.suffix)
			}
			suffixes[r.suffix] = d.Name
			if path := "/a" + r.suffix; !plain(path) || read(path)[0] != path || lower(r.within) != r.within {
				t.Errorf("%s: %s can be read in several ways", d.Name, r.suffix)
			}
		}
	}
}

// Whichever dialect stands first in the table, the longest suffix counts.
func TestTheLongestSuffixCounts(t *testing.T) {
	o := NewOperations(nil)
	for i, e := range o.paths {
		if i > 0 && len(e.suffix) > len(o.paths[i-1].suffix) {
			t.Errorf("%s stands behind %s", e.suffix, o.paths[i-1].suffix)
		}
	}
}
