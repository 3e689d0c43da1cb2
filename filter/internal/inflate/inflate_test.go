package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// compressed are the ways in which a body can be compressed; each has its own decompressor of the standard library.
var formats = map[string]struct {
	compress   func(w io.Writer, level int) (io.WriteCloser, error)
	decompress func(r io.Reader) (io.Reader, error)
}{
	"gzip": {
		func(w io.Writer, level int) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, level) },
		func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	},
	"zlib": {
		func(w io.Writer, level int) (io.WriteCloser, error) { return zlib.NewWriterLevel(w, level) },
		func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) },
	},
	"bare": {
		func(w io.Writer, level int) (io.WriteCloser, error) { return flate.NewWriter(w, level) },
		func(r io.Reader) (io.Reader, error) { return flate.NewReader(r), nil },
	},
}

func compress(t testing.TB, format string, level int, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := formats[format].compress(&b, level)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inflate gives what comes out of data in pieces of a size.
func inflate(data []byte, size int) (text []byte, done bool, err error) {
	r := &Reader{Accept: func(p []byte) bool { text = append(text, p...); return true }}
	for len(data) > 0 && err == nil {
		n := min(size, len(data))
		err = r.Write(bytes.Clone(data[:n]))
		data = data[n:]
	}
	return text, r.Done() && err == nil, err
}

// texts are what is compressed: of all kinds of blocks, and longer than the window.
func texts() map[string][]byte {
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	return map[string][]byte{
		"nothing": nil, "short": []byte(`{"model":"a"}`), "noise": noise,
		"repeated": []byte(strings.Repeat(`{"role":"user","content":"hello"},`, 10_000)),
		"mixed":    append(bytes.Repeat(noise[:300], 200), noise...),
	}
}

func TestWhatWasCompressedComesOutHoweverItIsCut(t *testing.T) {
	for name, text := range texts() {
		for format := range formats {
			for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, flate.BestCompression} {
				data := compress(t, format, level, text)
				for _, size := range []int{1, 2, 7, 1000, 1 << 30} {
					if got, done, err := inflate(data, size); err != nil || !done || !bytes.Equal(got, text) {
						t.Errorf("%s as %s, level %d, in pieces of %d: %d bytes of %d, done %v, %v", name, format, level, size, len(got), len(text), done, err)
					}
				}
			}
		}
	}
}

func TestGzipMayHaveSeveralMembersAndAllHeaderFields(t *testing.T) {
	var b bytes.Buffer
	for _, text := range []string{"one ", "two"} {
		w := gzip.NewWriter(&b)
		w.Name, w.Comment, w.Extra = "a name", "a comment", []byte("extra")
		_, _ = w.Write([]byte(text))
		_ = w.Close()
	}
	for _, size := range []int{1, 5, 1000} {
		if got, done, err := inflate(b.Bytes(), size); err != nil || !done || string(got) != "one two" {
			t.Errorf("in pieces of %d: %q, done %v, %v", size, got, done, err)
		}
	}
}

func TestTheReceiverStopsABomb(t *testing.T) {
	bomb := compress(t, "gzip", flate.BestCompression, make([]byte, 100<<20))
	got := 0
	r := &Reader{Accept: func(p []byte) bool { got += len(p); return got < 1<<20 }}
	if err := r.Write(bomb); err != ErrStopped {
		t.Fatalf("%v", err)
	}
	if got > 1<<20+windowSize {
		t.Errorf("%d bytes came out", got)
	}
	if err := r.Write(bomb); err != ErrStopped {
		t.Errorf("it went on: %v", err)
	}
}

func FuzzInflate(f *testing.F) {
	for _, text := range texts() {
		for format := range formats {
			f.Add(compress(f, format, flate.BestSpeed, text[:min(len(text), 2000)]), uint8(3))
		}
	}
	f.Add([]byte{0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		whole, done, err := inflate(data, 1<<30)
		for _, size := range []int{1, int(step) + 1} {
			if got, d, e := inflate(data, size); !bytes.Equal(got, whole) || d != done || e != err {
				t.Fatalf("in pieces of %d: %d bytes, done %v, %v; whole: %d bytes, done %v, %v", size, len(got), d, e, len(whole), done, err)
			}
		}
		if len(data) < 2 || IsGzip(data) || isZlib(data[0], data[1]) {
			return // the standard library compares checksums
		}
		want, standard := io.ReadAll(flate.NewReader(bytes.NewReader(data)))
		if standard == nil && (!done || !bytes.Equal(whole, want)) {
			t.Fatalf("%d bytes, done %v, %v; the standard library has %d", len(whole), done, err, len(want))
		}
	})
}
