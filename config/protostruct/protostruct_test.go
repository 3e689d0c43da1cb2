package protostruct

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"
)

// Envoy's bootstraps have the configuration in YAML, as a Struct, which the filter gets as it is sent.
func TestAStructIsRead(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("found the examples %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, file, text)
	}
	wantSame(t, "all kinds", []byte(`{"a": null, "b": [true, false, 1.5, -3, 1e20, "x\"\\\n\u0001é", [], {}], "c": {"d": {"e": ["f"]}}, "": ""}`))
}

func wantSame(t *testing.T, name string, text []byte) {
	t.Helper()
	var want map[string]any
	if err := yaml.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	message, err := structpb.NewStruct(want)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	read, ok, wrong := JSON(sent)
	var got map[string]any
	if err := json.Unmarshal(read, &got); !ok || wrong != nil || err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: read as %s, %t, %v, want %v", name, read, ok, err, want)
	}
	for cut := range sent { // never a panic; what is cut within an entry is none
		_, _, _ = JSON(sent[:cut])
	}
}

// What a Struct can have and a configuration can't is told in words that fit: nobody has written JSON.
func TestWhatNoConfigurationHas(t *testing.T) {
	deep, _ := structpb.NewStruct(nil)
	for range 2 * deepest {
		deep = &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStructValue(deep)}}
	}
	sent, err := proto.Marshal(deep)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]error{
		string(sent): errDeep,
		"\n\x0e\n\x01a\x12\x09\x11\x00\x00\x00\x00\x00\x00\xf0\x7f": errNumber, // infinity
		"\n\x0e\n\x01a\x12\x09\x11\x00\x00\x00\x00\x00\x00\xf8\x7f": errNumber, // NaN
	} {
		if _, is, err := JSON([]byte(text)); !is || !errors.Is(err, want) {
			t.Errorf("%q: got %t, %v, want %v", text, is, err, want)
		}
	}
}

func TestWhatIsNoStructIsLeftAlone(t *testing.T) {
	for _, text := range []string{
		"", "{}", "\n{\n  \"limits\": []\n}\n", "\n\n{}", `{"mode": "off"}`, "\n", "\n\x05abc", "\n\x02\n\x00", "\n\x04\n\x01a\x12",
		"\n\x07\n\x01\xff\x12\x02\x20\x01", // a key that is no text
	} {
		if read, ok, err := JSON([]byte(text)); ok || err != nil {
			t.Errorf("%q is read as %s, %v", text, read, err)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte("\n\x07\n\x01a\x12\x02\x20\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, ok, err := JSON(b); ok && err == nil && !json.Valid(text) {
			t.Errorf("%q is read as %q", b, text)
		}
	})
}
