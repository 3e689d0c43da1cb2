package config

import (
	"strconv"
	"strings"
)

// Differences is what one configuration has otherwise than the file's, as a JSON list of {"path", "file", "value"}: a JSON Pointer, and
// null where one of them has no such key. What is masked isn't compared.
func Differences(file, now *Config) []byte {
	before, _ := parseJSON(string(file.JSON()))
	after, _ := parseJSON(string(now.JSON()))
	d := differences{list: []byte{'['}}
	d.compare("", before, after)
	return append(d.list, ']')
}

type differences struct{ list []byte }

func (d *differences) compare(path string, before, after *jsonValue) {
	switch {
	case before == nil || after == nil || before.kind != after.kind:
		d.add(path, before, after)
	case after.kind == isObject:
		for _, m := range after.members {
			d.compare(below(path, m.key), before.get(m.key), m.value)
		}
		for _, m := range before.members {
			if after.get(m.key) == nil {
				d.add(below(path, m.key), m.value, nil)
			}
		}
	case after.kind == isArray && len(after.list) == len(before.list) && isSections(after):
		for i, entry := range after.list {
			d.compare(below(path, strconv.Itoa(i)), before.list[i], entry)
		}
	case string(appendValue(nil, before)) != string(appendValue(nil, after)):
		d.add(path, before, after)
	}
}

// isSections says that a list is one of objects.
func isSections(list *jsonValue) bool {
	entries := list.list
	return len(entries) > 0 && entries[0].kind == isObject
}

func (d *differences) add(path string, before, after *jsonValue) {
	if len(d.list) > 1 {
		d.list = append(d.list, ',')
	}
	d.list = appendString(append(d.list, `{"path":`...), path)
	for _, side := range [...]struct {
		key   string
		value *jsonValue
	}{{`,"file":`, before}, {`,"value":`, after}} {
		if d.list = append(d.list, side.key...); side.value == nil {
			d.list = append(d.list, "null"...)
		} else {
			d.list = appendValue(d.list, side.value)
		}
	}
	d.list = append(d.list, '}')
}

// below appends a key to a JSON Pointer (RFC 6901).
func below(path, key string) string {
	return path + "/" + strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}
