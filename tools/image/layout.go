package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// tagAnnotation is where an image's tag stands in the index of a layout.
const tagAnnotation = "org.opencontainers.image.ref.name"

type buildCommand struct {
	about
	Wasm    string `required:"" help:"The compiled filter." placeholder:"FILE"`
	Output  string `required:"" help:"Folder of the layout; it is made anew." placeholder:"DIR"`
	Archive string `help:"The same as one file, for skopeo, podman and docker load." placeholder:"FILE"`
}

func (c *buildCommand) Run(out output) error {
	module, err := os.ReadFile(c.Wasm)
	if err != nil {
		return err
	}
	image, err := pack(module, c.about)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Wasm, err)
	}
	if err := writeLayout(image, tagOf(c.Version), c.Output); err != nil {
		return err
	}
	if c.Archive != "" {
		if err := archive(c.Output, c.Archive); err != nil {
			return err
		}
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "image    %s\nversion  %s\ndigest   %s\n", c.Output, c.Version, digest)
	return err
}

// tagOf is a version as a tag, in which no plus sign may be.
func tagOf(version string) string { return strings.ReplaceAll(version, "+", "_") }

// writeLayout replaces only what is a layout already, so that a mistyped folder isn't lost.
func writeLayout(image v1.Image, tag, folder string) error {
	if entries, err := os.ReadDir(folder); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(folder, "oci-layout")); err != nil {
			return fmt.Errorf("%s has files, and is no layout of an image: name an empty folder, or a new one", folder)
		}
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendImage(image, layout.WithAnnotations(map[string]string{tagAnnotation: tag}))
}

// readLayout gives the one image of a layout, and its tag.
func readLayout(folder string) (v1.Image, string, error) {
	path, err := layout.FromPath(folder)
	if err != nil {
		return nil, "", fmt.Errorf("no layout of an image: %w", err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		return nil, "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, "", err
	}
	if len(manifest.Manifests) != 1 {
		return nil, "", fmt.Errorf("%s has %d images, want one", folder, len(manifest.Manifests))
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	return image, manifest.Manifests[0].Annotations[tagAnnotation], err
}

// archive writes a folder's files as a tar file, in order of their names, without owners and times.
func archive(folder, name string) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := tar.NewWriter(file)
	root := os.DirFS(folder)
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: info.Size()}); err != nil {
			return err
		}
		content, err := root.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = content.Close() }()
		_, err = io.Copy(w, content)
		return err
	})
	return errors.Join(err, w.Close())
}
