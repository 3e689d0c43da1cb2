package override

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// set puts a text up.
func set(s *Shared, text string) (before, after Record, err error) {
	return s.Change(7, "0123abcd", func(*Record) ([]byte, error) { return []byte(text), nil })
}

func TestAChangeIsNewsToEveryWorkerOnce(t *testing.T) {
	store := recordtest.NewMemory()
	a, b := New(store, "n"), New(store, "n")
	if _, news, err := a.Look(); news || err != nil {
		t.Errorf("nothing is news: %v", err)
	}
	for i, text := range []string{`{"mode":"off"}`, `{}`, ""} {
		if _, _, err := set(&b, text); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Shared{&a, &b} {
			r, news, err := s.Look()
			if want := (Record{uint64(i + 1), 7, "0123abcd", r.Text}); !news || err != nil || !reflect.DeepEqual(r, want) || string(r.Text) != text {
				t.Errorf("%v %v: got %+v, want %+v", news, err, r, want)
			}
			if _, news, _ := s.Look(); news {
				t.Error("it is news again")
			}
		}
	}
	a.Again()
	if r, news, _ := a.Look(); !news || r.Revision != 3 {
		t.Errorf("%v %+v", news, r)
	}
	late := New(store, "n")
	if _, news, _ := late.Look(); !news {
		t.Error("a worker that begins later isn't told")
	}
}

func TestAChangeThatIsRefusedChangesNothing(t *testing.T) {
	s := New(recordtest.NewMemory(), "n")
	refused := errors.New("no")
	if _, _, err := s.Change(1, "", func(*Record) ([]byte, error) { return nil, refused }); err != refused {
		t.Error(err)
	}
	if _, news, _ := s.Look(); news {
		t.Error("there is a record")
	}
}

// TestNoChangeIsLost: each is made on what another one has left that came between.
func TestNoChangeIsLost(t *testing.T) {
	store := recordtest.NewMemory()
	mine, other := New(store, "n"), New(store, "n")
	more := func(before *Record) ([]byte, error) { return append(bytes.Clone(before.Text), 'x'), nil }
	rivals := 0
	store.Conflict = func(string) {
		if rivals++; rivals%3 > 0 {
			if _, _, err := other.Change(0, "", more); err != nil {
				t.Error(err)
			}
		}
	}
	const changes = 50
	for range changes {
		if _, _, err := mine.Change(0, "", more); err != nil {
			t.Error(err)
		}
	}
	store.Conflict = nil
	if r, err := mine.Read(); err != nil || len(r.Text) != rivals || r.Revision != uint64(len(r.Text)) {
		t.Errorf("%v: %d, revision %d, rivals %d", err, len(r.Text), r.Revision, rivals)
	}
}

func TestGarbageIsNoRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := recordtest.NewMemory()
		garbage := rapid.SliceOf(rapid.Byte()).Draw(t, "garbage")
		if rapid.Bool().Draw(t, "of a likely size") {
			garbage = append([]byte{layout, 0, 0, 0}, garbage...)
		}
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
			garbage = append(garbage, make([]byte, config.MostOverrides+headSize)...)
		}
		if _, err := store.Put("n/o1", garbage, record.Create); err != nil {
			t.Fatal(err)
		}
		s := New(store, "n")
		r, _, err := s.Look()
		if err != nil || len(r.Text) > config.MostOverrides {
			t.Fatalf("%v %d", err, len(r.Text))
		}
		if _, after, err := set(&s, "{}"); err != nil || after.Revision != r.Revision+1 {
			t.Fatalf("%v %+v", err, after)
		}
		if r, err = s.Read(); err != nil || string(r.Text) != "{}" {
			t.Fatalf("%v %+v", err, r)
		}
	})
}

func TestAFailingStoreIsTold(t *testing.T) {
	s := New(broken{}, "n")
	_, _, look := s.Look()
	_, _, change := set(&s, "{}")
	_, read := s.Read()
	for _, err := range []error{look, change, read} {
		if !errors.Is(err, errBroken) {
			t.Error(err)
		}
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Get(string) ([]byte, uint32, bool, error) { return nil, 0, false, errBroken }
func (broken) Put(string, []byte, uint32) (bool, error) { return false, errBroken }
