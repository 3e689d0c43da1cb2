package grant

import (
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

func look(t *testing.T, s *Shared) []Grant {
	t.Helper()
	all, news, err := s.Look()
	if err != nil || !news {
		t.Fatalf("%v %v", news, err)
	}
	return all
}

func TestGrantsAreGivenAndEnded(t *testing.T) {
	store := recordtest.NewMemory()
	a, b := New(store, "n"), New(store, "n")
	if _, news, err := a.Look(); news || err != nil {
		t.Errorf("nothing is news: %v", err)
	}
	first, second, instead := Grant{1, 2, More, 5, 100}, Grant{1, 3, Quantity, 6, 200}, Grant{1, 2, Quantity, 7, 150}
	for _, g := range []Grant{first, second, instead} {
		if err := a.Give(g); err != nil {
			t.Fatal(err)
		}
	}
	if got := look(t, &b); !reflect.DeepEqual(got, []Grant{second, instead}) {
		t.Errorf("%+v", got)
	}
	if _, news, _ := b.Look(); news {
		t.Error("it is news again")
	}
	for _, c := range []struct {
		worker *Shared
		ended  []Grant
	}{{&a, []Grant{instead}}, {&b, nil}} {
		if ended, err := c.worker.End(150); err != nil || !reflect.DeepEqual(ended, c.ended) {
			t.Errorf("%v %+v", err, ended)
		}
	}
	if got := look(t, &b); !reflect.DeepEqual(got, []Grant{second}) {
		t.Errorf("%+v", got)
	}
}

// TestOneWorkerEndsAGrant: another one that was first has it.
func TestOneWorkerEndsAGrant(t *testing.T) {
	store := recordtest.NewMemory()
	a, b := New(store, "n"), New(store, "n")
	if err := a.Give(Grant{1, 2, More, 5, 100}); err != nil {
		t.Fatal(err)
	}
	var rival []Grant
	store.Conflict = func(string) {
		if rival == nil {
			rival, _ = b.End(100)
		}
	}
	if ended, err := a.End(100); err != nil || len(ended) != 0 || len(rival) != 1 {
		t.Errorf("%v: %+v, and the other one %+v", err, ended, rival)
	}
}

func TestGrantsAreBounded(t *testing.T) {
	s := New(recordtest.NewMemory(), "n")
	for i := range Most {
		if err := s.Give(Grant{1, uint64(i), More, 5, 100}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Give(Grant{2, 0, More, 5, 100}); err != ErrFull {
		t.Error(err)
	}
	if err := s.Give(Grant{1, 0, More, 6, 100}); err != nil {
		t.Errorf("another one in its place: %v", err)
	}
	if n := len(look(t, &s)); n != Most {
		t.Error(n)
	}
}

func TestGarbageIsNoGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := recordtest.NewMemory()
		garbage := append(rapid.SampledFrom([][]byte{nil, {layout, 0, 0, 0}}).Draw(t, "head"), rapid.SliceOfN(rapid.Byte(), 0, 3*size).Draw(t, "garbage")...)
		if _, err := store.Put("n/g1", garbage, record.Create); err != nil {
			t.Fatal(err)
		}
		s := New(store, "n")
		all, _, err := s.Look()
		for _, g := range all {
			if g.Amount <= 0 || g.Kind > Quantity {
				t.Fatalf("%+v", g)
			}
		}
		if given := s.Give(Grant{1, 2, More, 5, 100}); err != nil || given != nil {
			t.Fatal(err, given)
		}
	})
}

func TestAFailingStoreIsTold(t *testing.T) {
	s := New(broken{}, "n")
	_, _, look := s.Look()
	_, end := s.End(1)
	for _, err := range []error{look, end, s.Give(Grant{1, 2, More, 5, 100})} {
		if !errors.Is(err, errBroken) {
			t.Error(err)
		}
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Get(string) ([]byte, uint32, bool, error) { return nil, 0, false, errBroken }
func (broken) Put(string, []byte, uint32) (bool, error) { return false, errBroken }
