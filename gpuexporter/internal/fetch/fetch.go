// Package fetch asks other servers over HTTP, within bounds.
package fetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Answer is what came back.
type Answer struct {
	Header http.Header
	Body   []byte
}

// NewClient makes a client for servers in the neighbourhood: no proxy, no cookies, and few idle connections for each. The
// context of a request bounds its time.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    5 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		// A redirect would be followed once a second for ever: name the right address instead.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Get asks for a URL. A status other than 200 and a body of more than max bytes are errors.
func Get(ctx context.Context, client *http.Client, u string, header http.Header, max int64) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return Answer{}, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", "gpuexporter")
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, redact(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return Answer{}, fmt.Errorf("it answers status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, max+1))
	if err != nil {
		return Answer{}, fmt.Errorf("reading its answer: %w", err)
	}
	if int64(len(body)) > max {
		return Answer{}, fmt.Errorf("its answer has more than %d bytes", max)
	}
	return Answer{Header: response.Header, Body: body}, nil
}

// redact takes the URL out of an error: whoever logs it names the source, and a URL can hold a password.
func redact(err error) error {
	if u, ok := err.(*url.Error); ok {
		return u.Err
	}
	return err
}
