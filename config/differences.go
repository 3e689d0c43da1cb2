package config

import (
	"strconv"
	"strings"

	"github.com/valyala/fastjson"
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

func (d *differences) compare(path string, before, after *fastjson.Value) {
	switch {
	case before == nil || after == nil || before.Type() != after.Type():
		d.add(path, before, after)
	case after.Type() == fastjson.TypeObject:
		after.GetObject().Visit(func(key []byte, value *fastjson.Value) {
			d.compare(below(path, string(key)), before.Get(string(key)), value)
		})
		before.GetObject().Visit(func(key []byte, value *fastjson.Value) {
			if after.Get(string(key)) == nil {
				d.add(below(path, string(key)), value, nil)
			}
		})
	case after.Type() == fastjson.TypeArray && len(after.GetArray()) == len(before.GetArray()) && isSections(after):
		for i, entry := range after.GetArray() {
			d.compare(below(path, strconv.Itoa(i)), before.GetArray()[i], entry)
		}
	case string(appendValue(nil, before)) != string(appendValue(nil, after)):
		d.add(path, before, after)
	}
}

// isSections says that a list is one of objects.
func isSections(list *fastjson.Value) bool {
	entries := list.GetArray()
	return len(entries) > 0 && entries[0].Type() == fastjson.TypeObject
}

func (d *differences) add(path string, before, after *fastjson.Value) {
	if len(d.list) > 1 {
		d.list = append(d.list, ',')
	}
	d.list = appendString(append(d.list, `{"path":`...), path)
	for _, side := range [...]struct {
		key   string
		value *fastjson.Value
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
