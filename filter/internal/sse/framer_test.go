package sse

import (
	"fmt"
	"strings"
	"testing"
)

type events struct {
	data strings.Builder
	list []string
}

func (e *events) Data(p []byte) { e.data.Write(p) }
func (e *events) Event(name []byte) {
	e.list = append(e.list, fmt.Sprintf("%s|%s", name, e.data.String()))
	e.data.Reset()
}

func read(in string, cut func(i int) bool) []string {
	var f Framer
	var e events
	f.Reset(&e)
	start := 0
	for i := range len(in) {
		if cut(i) {
			f.Write([]byte(in[start:i]))
			start = i
		}
	}
	f.Write([]byte(in[start:]))
	f.Close()
	return e.list
}

func whole(int) bool    { return false }
func bytewise(int) bool { return true }

func TestFramer(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"one event", "data: a\n\n", []string{"|a"}},
		{"no space", "data:a\n\n", []string{"|a"}},
		{"two spaces", "data:  a\n\n", []string{"| a"}},
		{"named", "event: x\ndata: a\n\ndata: b\n\n", []string{"x|a", "|b"}},
		{"name behind the data", "data: a\nevent: x\n\n", []string{"x|a"}},
		{"many data lines", "data: a\ndata: b\ndata\ndata:\n\n", []string{"|a\nb\n\n"}},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"|a", "|b"}},
		{"CR", "data: a\r\rdata: b\r\r", []string{"|a", "|b"}},
		{"comment", ": ping\n\n:\ndata: a\n: b\n\n", []string{"|a"}},
		{"other fields", "id: 1\nretry: 2\ndatabase: x\ndata: a\n\n", []string{"|a"}},
		{"no data", "event: x\n\ndata: a\n\n", []string{"|a"}},
		{"cut off", "data: a\n\ndata: b", []string{"|a", "|b"}},
		{"byte order mark", "\ufeffdata: a\n\n", []string{"|a"}},
		{"colon in the value", "data: a: b\n\n", []string{"|a: b"}},
		{"nothing", "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for how, cut := range map[string]func(int) bool{"whole": whole, "by bytes": bytewise} {
				if got := read(test.in, cut); fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("%s: got %q, want %q", how, got, test.want)
				}
			}
		})
	}
}

// bounds gives where events, and lines that are no part of one, end.
func bounds(in string, step int) (ends []int) {
	var f Framer
	f.Reset(&events{})
	for start := 0; start < len(in); start += step {
		for i, end := start, min(start+step, len(in)); i < end; {
			if i += f.Next([]byte(in[i:end])); !f.Open() {
				ends = append(ends, i)
			}
		}
	}
	return ends
}

func TestNextStopsWhereAnEventEnds(t *testing.T) {
	for in, want := range map[string][]int{
		"data: a\n\ndata: b\n\n":           {9, 18},
		"data: a\r\n\r\ndata: b\r\r":       {10, 11, 20},
		": c\n\nid: 1\nevent: x\ndata\n\n": {4, 5, 11, 26},
		"\ufeffdata: a\n: c\n\n":           {3, 16},
		"data: a":                          nil,
	} {
		if got := bounds(in, len(in)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func FuzzFramer(f *testing.F) {
	f.Add("event: x\r\ndata: {\"a\":1}\r\n\r\n: c\rdata\n\n", uint8(3))
	f.Add("\ufeffdata: a\ndata: b", uint8(1))
	f.Fuzz(func(t *testing.T, in string, step uint8) {
		once := fmt.Sprintf("%q", read(in, whole))
		if got := fmt.Sprintf("%q", read(in, bytewise)); got != once {
			t.Fatalf("by bytes: %s, whole: %s", got, once)
		}
		if got := fmt.Sprintf("%q", read(in, func(i int) bool { return step == 0 || i%int(step) == 0 })); got != once {
			t.Fatalf("by %d: %s, whole: %s", step, got, once)
		}
		ends := fmt.Sprint(bounds(in, max(len(in), 1)))
		for _, step := range []int{1, int(step) + 1} {
			if got := fmt.Sprint(bounds(in, step)); got != ends {
				t.Fatalf("bounds by %d: %s, whole: %s", step, got, ends)
			}
		}
	})
}

func TestFramerHoldsNothingOfAnEndlessLine(t *testing.T) {
	var f Framer
	f.Reset(&events{})
	f.Write([]byte("ignored: "))
	chunk := make([]byte, 1<<16)
	for i := range chunk {
		chunk[i] = 'x'
	}
	for _, prefix := range []string{"", "\n", "\nevent: "} {
		f.Write([]byte(prefix))
		for range 64 {
			f.Write(chunk)
		}
	}
	if cap(f.field) > 2*maxField || cap(f.name) > 2*maxName {
		t.Errorf("holds %d and %d bytes", cap(f.field), cap(f.name))
	}
}

// counting takes what there is, and keeps nothing.
type counting struct{ bytes, events int }

func (c *counting) Data(p []byte) { c.bytes += len(p) }
func (c *counting) Event([]byte)  { c.events++ }

func TestEventsAllocateNothing(t *testing.T) {
	stream := []byte("\ufeff: hi\r\nevent: x\ndata:a\ndata: b\n\ndata: c\n\n")
	var f Framer
	var c counting
	read := func() {
		c = counting{}
		f.Reset(&c)
		for i := range stream {
			f.Write(stream[i : i+1])
		}
		f.Write(stream[3:])
		if f.Close(); c != (counting{8, 4}) {
			t.Fatalf("%+v", c)
		}
	}
	read()
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
