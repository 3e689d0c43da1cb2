package told

import (
	"reflect"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

func rec(layout uint8, worker, of uint64, at clock.Moment, text string) []byte {
	h := Header{layout, worker, of, at}
	return AppendText(h.Append(nil), []byte(text))
}

func TestTheLatestOfEachWorkerCounts(t *testing.T) {
	parts := Latest([][]byte{
		rec(1, 7, 0, 5, "old"), rec(1, 8, 0, 9, "other"), rec(1, 7, 0, 6, "new\n"), rec(1, 7, 0, 4, "older"), rec(1, 7, 0, 6, "same"),
		rec(2, 9, 0, 9, "layout"), rec(1, 9, 3, 9, "of"), {}, rec(1, 9, 0, 9, "")[:HeaderSize-1],
	}, 1, 0)
	got := map[uint64]string{}
	for i := range parts {
		got[parts[i].Worker] = parts[i].Text(10)
		if !parts[i].Whole() {
			t.Errorf("worker %d is unsound", parts[i].Worker)
		}
	}
	if want := map[uint64]string{7: "new_", 8: "other"}; !reflect.DeepEqual(got, want) || len(parts) != 2 {
		t.Errorf("%v", got)
	}
}

func TestWhatIsNotThereIsUnsound(t *testing.T) {
	for name, read := range map[string]func(r *Reader){
		"a byte": func(r *Reader) { r.Byte() }, "a number": func(r *Reader) { r.Uint64() }, "a text": func(r *Reader) { _ = r.Text(300) },
		"the rest of a text": func(r *Reader) { r.rest = []byte{3, 'a', 'b'}; _ = r.Text(300) },
		"too long a text":    func(r *Reader) { r.rest = []byte{3, 'a', 'b', 'c'}; _ = r.Text(2) },
	} {
		r := Reader{Sound: true}
		if read(&r); r.Sound || r.Whole() {
			t.Errorf("%s is sound", name)
		}
	}
	if r := (Reader{true, []byte{1}}); r.Whole() {
		t.Error("something is left")
	}
}
