package page

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"
)

func TestThePageUnpacksAsItIs(t *testing.T) {
	r, err := gzip.NewReader(bytes.NewReader(Gzip))
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := HTML(); !bytes.Equal(got, want) || len(got) == 0 {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

func TestWhoTakesGzip(t *testing.T) {
	for accepted, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "br, gzip": true, "gzip, deflate, br, zstd": true, "gzip;q=0.5": true, "gzip; q=1": true, "gzip;q=0": false,
		"gzip;q=0.000": false, "x-gzip": false, "identity": false, "gzipped": false, "gzip;": true, ";,=": false,
	} {
		if got := TakesGzip(accepted); got != want {
			t.Errorf("%q: %v", accepted, got)
		}
	}
}
