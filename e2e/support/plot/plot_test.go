package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAPlotIsWellFormed(t *testing.T) {
	t.Parallel()
	one := Line{Name: "one", Color: "red", At: []float64{0.5, 1.5, 2.5}, Values: []float64{1, 2, 9}}
	text := Draw(10, "minutes", Plot{Title: "a", Top: 4, Lines: []Line{one}})
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	if want := `points="32.0,135.0 96.0,90.0 160.0,0.0"`; !strings.Contains(text, want) {
		t.Errorf("no %s in %s", want, text)
	}
	for _, tick := range []string{"15.2", "30.4"} { // 76 × 1/5 isn't 15.2 in binary
		if text := Draw(76, "seconds", Plot{Title: "a", Top: 4}); !strings.Contains(text, ">"+tick+"<") {
			t.Errorf("no time %s in %s", tick, text)
		}
	}
}
