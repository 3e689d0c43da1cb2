package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pluginFile is the name by which those who run the image find the module in it.
const pluginFile = "plugin.wasm"

// about is what an image says of itself.
type about struct {
	Version  string `required:"" help:"Version of the filter; also the image's tag." placeholder:"V"`
	Revision string `help:"Commit that it was built from." placeholder:"COMMIT"`
	Source   string `default:"https://github.com/spillway-proxy/spillway" help:"Where the source is."`
}

func (a about) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":       "spillway",
		"org.opencontainers.image.description": "Traffic control for LLM inference, as a Wasm filter for Envoy and Istio",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      a.Source,
		"org.opencontainers.image.version":     a.Version,
	}
	if a.Revision != "" {
		labels["org.opencontainers.image.revision"] = a.Revision
	}
	return labels
}

// pack makes an image of the "compat" variant of the Wasm image specification: one layer, which holds the module. It is the
// variant that registries and other tools take for an ordinary image. Times are left out, so that the same module makes the
// same image.
func pack(module []byte, a about) (v1.Image, error) {
	if !bytes.HasPrefix(module, []byte("\x00asm\x01\x00\x00\x00")) {
		return nil, fmt.Errorf("this is no Wasm module of version 1: it begins with %q", module[:min(8, len(module))])
	}
	content, err := layerTar(module)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{CreatedBy: "spillway-image build"},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "wasip1", "wasm"
	config.Config.Labels = a.labels()
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(image, a.labels()).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("annotating an image gave something else")
	}
	return annotated, nil
}

func layerTar(module []byte) ([]byte, error) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: pluginFile, Mode: 0o644, Size: int64(len(module))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(module); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}
