package record_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// add adds one to the number that a key says.
func add(store record.Store, key string) error {
	u := record.Open(store, key)
	for u.Read() {
		n := uint64(0)
		if len(u.Value) == 8 {
			n = binary.LittleEndian.Uint64(u.Value)
		}
		u.Write(binary.LittleEndian.AppendUint64(nil, n+1))
	}
	return u.Err()
}

// Whoever is first, at the key's creation as well: no change is lost, and none is made twice.
func TestEveryChangeCountsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := recordtest.NewMemory()
		races := rapid.SliceOf(rapid.Bool()).Draw(t, "races")
		others := uint64(0)
		store.Conflict = func(string) {
			if len(races) == 0 {
				return
			}
			if races[0] {
				others++
				if err := add(store, "k"); err != nil {
					t.Error(err)
				}
			}
			races = races[1:]
		}
		n := rapid.Uint64Range(1, 20).Draw(t, "changes")
		for range n {
			if err := add(store, "k"); err != nil {
				t.Fatal(err)
			}
		}
		value, _, _, _ := store.Get("k")
		if got := binary.LittleEndian.Uint64(value); got != n+others {
			t.Fatalf("%d changes, and %d of others, make %d", n, others, got)
		}
	})
}

func TestTooManyWorkersEndTheLoop(t *testing.T) {
	store := recordtest.NewMemory()
	store.Conflict = func(key string) { _ = add(store, key) }
	reads, u := 0, record.Open(store, "k")
	for u.Read() {
		if reads++; reads%2 == 0 {
			u.Move("k") // that it is another key's doesn't make it endless
		}
		if u.Write(nil) {
			t.Fatal("written")
		}
	}
	if reads != record.Attempts || !errors.Is(u.Err(), record.ErrContended) {
		t.Errorf("after %d reads: %v", reads, u.Err())
	}
}

type failing struct{ get, put error }

func (f failing) Get(string) ([]byte, uint32, bool, error) { return nil, 7, f.get == nil, f.get }
func (f failing) Put(string, []byte, uint32) (bool, error) { return f.put == nil, f.put }

func TestAFailingStoreEndsTheLoop(t *testing.T) {
	failure := errors.New("failure")
	for _, store := range []failing{{get: failure}, {put: failure}} {
		if err := add(store, "k"); !errors.Is(err, failure) {
			t.Errorf("%+v: %v", store, err)
		}
	}
}

func TestAnUpdateAllocatesNothing(t *testing.T) {
	var store record.Store = failing{}
	if n := testing.AllocsPerRun(100, func() {
		u := record.Open(store, "k")
		for u.Read() {
			u.Write(nil)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
