// Package engine reads the load of an inference server from the metrics that it has anyway: Prometheus text of vLLM,
// SGLang, TensorRT-LLM (alone or in Triton) and NVIDIA Dynamo. Which name means what is one table, in table.go.
package engine

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/url"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fetch"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// MaxBody bounds a server's metrics. A vLLM with one model has 56 KB.
const MaxBody = 8 << 20

// Source reads one address.
type Source struct {
	name   string
	url    string
	client *http.Client
}

// New makes a source for the metrics at u, whose instance has the given name.
func New(name string, u *url.URL, client *http.Client) *Source {
	return &Source{name: name, url: u.String(), client: client}
}

// accept asks for the text format, which all of these servers have. OpenMetrics differs in what is not read here.
var accept = http.Header{"Accept": {"text/plain;version=0.0.4;q=1,*/*;q=0.1"}}

// Sample reads the metrics once.
func (s *Source) Sample(ctx context.Context) (source.Sample, error) {
	answer, err := fetch.Get(ctx, s.client, s.url, accept, MaxBody)
	if err != nil {
		return source.Sample{}, err
	}
	read, err := Parse(answer.Body)
	if err != nil {
		return source.Sample{}, explain(err, answer.Header)
	}
	sample := source.Sample{Targets: 1, Notes: map[string]int{}}
	for note, n := range map[string]int{"lines_skipped": read.Skipped, "omitted": read.Omitted} {
		if n > 0 {
			sample.Notes[note] = n
		}
	}
	for _, i := range read.Instances {
		if i.Name == "" {
			i.Name = s.name
		} else {
			i.Name = s.name + "/" + i.Name
		}
		sample.Instances = append(sample.Instances, source.Instance{Instance: i})
	}
	return sample, nil
}

// explain adds what the content type tells about an answer that couldn't be used. The type alone decides nothing: servers
// send all kinds.
func explain(err error, header http.Header) error {
	switch mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type")); mediaType {
	case "application/json":
		return fmt.Errorf("%w (it answers JSON: trtllm-serve has Prometheus text at /prometheus/metrics)", err)
	case "text/html":
		return fmt.Errorf("%w (it answers HTML: is the path right?)", err)
	}
	return err
}
