package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

type pushCommand struct {
	Layout     string `required:"" help:"Folder that build wrote." placeholder:"DIR"`
	Insecure   bool   `help:"Speak plain HTTP."`
	Latest     bool   `help:"Let the tag latest name this image, too."`
	Repository string `arg:"" help:"Where to, without a tag: ghcr.io/you/spillway. Credentials are those of docker login."`
}

func (c *pushCommand) Run(ctx context.Context, out output) error {
	image, tag, err := readLayout(c.Layout)
	if err != nil {
		return err
	}
	tags := []string{tag}
	if c.Latest {
		tags = append(tags, "latest")
	}
	for _, tag := range tags {
		reference, err := push(ctx, image, c.Repository, tag, c.Insecure)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, "pushed", reference); err != nil {
			return err
		}
	}
	return nil
}

// push gives the reference by which the image can be fetched, with tag and digest.
func push(ctx context.Context, image v1.Image, repository, tag string, insecure bool) (string, error) {
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(repository, append(options, name.StrictValidation)...)
	if err != nil {
		return "", fmt.Errorf("repository %q: %w; it has a host and a path, and no tag, as in ghcr.io/you/spillway", repository, err)
	}
	reference, err := name.NewTag(repository+":"+tag, append(options, name.StrictValidation)...)
	if err != nil {
		return "", fmt.Errorf("tag %q: %w", tag, err)
	}
	if err := remote.Write(reference, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("pushing to %s: %w", repo, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	return reference.Name() + "@" + digest.String(), nil
}

type serveCommand struct {
	Wasm       string `required:"" help:"The compiled filter." placeholder:"FILE"`
	Listen     string `default:"127.0.0.1:0" help:"Address; port 0 is a free one."`
	Repository string `default:"spillway/filter" help:"The image's repository."`
	Tag        string `default:"dev" help:"The image's tag."`
}

// Run serves until it is told to stop. The line that it prints is the signal that it is ready.
func (c *serveCommand) Run(ctx context.Context, out output) error {
	module, err := os.ReadFile(c.Wasm)
	if err != nil {
		return err
	}
	image, err := pack(module, about{Version: c.Tag, Source: "https://github.com/spillway-proxy/spillway"})
	if err != nil {
		return fmt.Errorf("%s: %w", c.Wasm, err)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	reference, err := push(ctx, image, listener.Addr().String()+"/"+c.Repository, c.Tag, true)
	if err == nil {
		_, err = fmt.Fprintln(out, "serving", reference)
	}
	if err != nil {
		return errors.Join(err, server.Close())
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}
