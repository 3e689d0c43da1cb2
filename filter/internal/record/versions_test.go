package record_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// numbering is a store that numbers its writes by one counter, or each key's by its own.
type numbering struct {
	perKey         bool
	last           uint32
	values         map[string][]byte
	versions       map[string]uint32
	reads, refused int
}

func (n *numbering) Get(key string) ([]byte, uint32, bool, error) {
	n.reads++
	value, found := n.values[key]
	return value, n.versions[key], found, nil
}

func (n *numbering) Put(key string, value []byte, version uint32) (bool, error) {
	if _, found := n.values[key]; found && version != 0 && version != n.versions[key] {
		n.refused++
		return false, nil
	}
	n.last = max(n.last+1, 1)
	n.values[key] = append([]byte(nil), value...)
	if n.versions[key]++; !n.perKey {
		n.versions[key] = n.last
	}
	return true, nil
}

func newNumbering(perKey bool, last uint32) *numbering {
	return &numbering{perKey: perKey, last: last, values: map[string][]byte{}, versions: map[string]uint32{}}
}

// addOwn is add, by a worker that needn't read what it wrote last itself. Between what it reads and what it writes others may be quicker.
func addOwn(own *record.Versions, key string, meanwhile func()) error {
	u := record.OpenOwn(own, key)
	for more := u.Recall(); more; more = u.Read() {
		n := uint64(0)
		if len(u.Value) == 8 {
			n = binary.LittleEndian.Uint64(u.Value)
		}
		meanwhile()
		u.Write(binary.LittleEndian.AppendUint64(nil, n+1))
	}
	return u.Err()
}

// However many workers write what keys, in whichever order, by however their writes are numbered, and where the numbers begin anew: no change is lost.
func TestNoChangeIsLostByAGuess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := newNumbering(rapid.Bool().Draw(t, "each key's own numbers"), rapid.SampledFrom([]uint32{0, ^uint32(0) - 40, ^uint32(0) - 8, 1 << 31}).Draw(t, "so far"))
		var workers []*record.Versions
		want := map[string]uint64{}
		for k := range 3 { // here, since of two that create a key with the version record.Create itself one is lost
			if err := add(store, fmt.Sprint("k", k)); err != nil {
				t.Fatal(err)
			}
			want[fmt.Sprint("k", k)] = 1
		}
		key := func() string { return fmt.Sprint("k", rapid.IntRange(0, 2).Draw(t, "key")) }
		for range rapid.IntRange(1, 400).Draw(t, "changes") {
			if len(workers) == 0 || len(workers) < 4 && rapid.IntRange(0, 20).Draw(t, "a worker starts") == 0 {
				own, err := record.NewVersions(store, "versions")
				if err != nil {
					t.Fatal(err)
				}
				workers = append(workers, own)
			}
			worker := func() *record.Versions { return workers[rapid.IntRange(0, len(workers)-1).Draw(t, "worker")] }
			once := func(meanwhile func()) {
				k := key()
				want[k]++
				if err := addOwn(worker(), k, meanwhile); err != nil {
					t.Fatal(err)
				}
			}
			raced := rapid.IntRange(0, 3).Draw(t, "race") == 0
			once(func() {
				if raced {
					raced = false
					once(func() {})
				}
			})
		}
		for k, n := range want {
			if got := binary.LittleEndian.Uint64(store.values[k]); got != n {
				t.Fatalf("%s: %d changes make %d", k, n, got)
			}
		}
	})
}

// A worker that writes alone reads nothing that it has written itself; one among others soon leaves it, and comes back to it.
func TestWhoWritesAloneNeednTRead(t *testing.T) {
	store := newNumbering(false, 0)
	alone, err := record.NewVersions(store, "versions")
	if err != nil {
		t.Fatal(err)
	}
	another, err := record.NewVersions(store, "versions")
	if err != nil {
		t.Fatal(err)
	}
	run := func(changes int, meanwhile func()) (reads, refused int) {
		store.reads, store.refused = 0, 0
		for i := range changes {
			if err := addOwn(alone, fmt.Sprint("k", i%3), func() {}); err != nil {
				t.Fatal(err)
			}
			before := store.reads
			meanwhile()
			store.reads = before
		}
		return store.reads, store.refused
	}
	run(10, func() {})
	if reads, refused := run(1000, func() {}); reads != 0 || refused != 0 {
		t.Errorf("alone, of 1000 changes %d are read first, %d fail", reads, refused)
	}
	beside := func() { _ = add(another, "other") }
	run(100, beside)
	if reads, refused := run(10_000, beside); reads > 10_100 || refused > 20 {
		t.Errorf("beside another, of 10000 changes %d are read first, %d fail", reads, refused)
	}
	run(10_000, func() {})
	if reads, refused := run(1000, func() {}); reads != 0 || refused != 0 {
		t.Errorf("alone again, of 1000 changes %d are read first, %d fail", reads, refused)
	}
}

// What the store numbers otherwise is read each time.
func TestNothingIsGuessedOfOtherNumbers(t *testing.T) {
	store := newNumbering(true, 0)
	for range 5 {
		own, err := record.NewVersions(store, "versions")
		if err != nil {
			t.Fatal(err)
		}
		store.reads, store.refused = 0, 0
		for range 100 {
			if err := addOwn(own, "k", func() {}); err != nil {
				t.Fatal(err)
			}
		}
		if store.reads != 100 || store.refused != 0 {
			t.Errorf("100 changes: %d reads, %d of them in vain", store.reads, store.refused)
		}
	}
}
