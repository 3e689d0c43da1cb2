package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fetch"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// transport answers by host and port, without a network.
type transport map[string]http.HandlerFunc

// bodied gives some of its answers another body.
type bodied struct {
	transport
	bodies map[string]io.ReadCloser
}

func (b bodied) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.transport.RoundTrip(r)
	if body := b.bodies[r.URL.Host]; body != nil && err == nil {
		response.Body = body
	}
	return response, err
}

func (tr transport) RoundTrip(r *http.Request) (*http.Response, error) {
	handler, ok := tr[r.URL.Host]
	if !ok {
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	handler(w, r)
	return w.Result(), nil
}

// tells is an exporter that tells of instances with these ages in seconds.
func tells(ages map[string]float64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var list []string
		for name, age := range ages {
			list = append(list, fmt.Sprintf(`{"name":%q,"running":1,"ageSeconds":%v}`, name, age))
		}
		w.Header().Set(IDHeader, "another")
		fmt.Fprintf(w, `{"version":1,"time":"2001-01-01T00:00:00Z","instances":[%s]}`, strings.Join(list, ","))
	}
}

type lab struct {
	tr        transport
	bodies    map[string]io.ReadCloser
	addresses []string
	lookup    error
	now       time.Time
	source    *Source
}

func newLab(t *testing.T, address string) *lab {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{tr: transport{}, bodies: map[string]io.ReadCloser{}, now: time.Unix(1000, 0)}
	l.source = New(u, Options{
		Client: l.client(), Now: func() time.Time { return l.now }, Self: "me", Forget: time.Minute, MaxInstances: 5,
		Resolve: func(context.Context, string) ([]string, error) { return l.addresses, l.lookup },
	})
	return l
}

// client is the real one, but for its network.
func (l *lab) client() *http.Client {
	client := fetch.NewClient()
	client.Transport = bodied{l.tr, l.bodies}
	return client
}

// sample gives the names with their ages, sorted.
func (l *lab) sample(t *testing.T) (string, source.Sample, error) {
	t.Helper()
	s, err := l.source.Sample(t.Context())
	var list []string
	for _, i := range s.Instances {
		list = append(list, fmt.Sprintf("%s %v", i.Name, l.now.Sub(i.At)))
	}
	sort.Strings(list)
	return strings.Join(list, ", "), s, err
}

func TestAgesAreCountedFromWhenAPeerWasAsked(t *testing.T) {
	l := newLab(t, "http://one:9401/v1/pressure")
	l.tr["one:9401"] = func(w http.ResponseWriter, r *http.Request) {
		tells(map[string]float64{"a": 0.4, "b": 30})(w, r)
		l.now = l.now.Add(2 * time.Second) // a slow answer: its clock, which is decades off, doesn't matter
	}
	if got, _, err := l.sample(t); err != nil || got != "a 2.4s, b 32s" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestGPUsThatWereMeasuredApartKeepTheirOwnAge(t *testing.T) {
	l := newLab(t, "http://one:9401/v1/pressure")
	l.tr["one:9401"] = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"version":1,"instances":[{"name":"a","ageSeconds":1,"gpus":[{"uuid":"g"},{"uuid":"h","ageSeconds":3}]},{"name":"b","ageSeconds":1,"gpus":[{"uuid":"i"}]}]}`)
	}
	_, s, err := l.sample(t)
	if err != nil {
		t.Fatal(err)
	}
	if age := l.now.Sub(s.Instances[0].GPUsAt); age != 3*time.Second || !s.Instances[1].GPUsAt.IsZero() {
		t.Errorf("%v and %v", age, s.Instances[1].GPUsAt)
	}
}

func TestEveryAddressOfANameIsAsked(t *testing.T) {
	l := newLab(t, "dns+http://exporters:9401/v1/pressure")
	l.addresses = []string{"10.0.0.2", "10.0.0.1", "10.0.0.1", "fd00::3"}
	l.tr["10.0.0.1:9401"] = tells(map[string]float64{"a": 1})
	l.tr["10.0.0.2:9401"] = tells(map[string]float64{"b": 2})
	l.tr["[fd00::3]:9401"] = tells(map[string]float64{"c": 3})
	got, s, err := l.sample(t)
	if err != nil || got != "a 1s, b 2s, c 3s" || s.Targets != 3 || s.Failed != 0 {
		t.Errorf("got %q, %+v, %v", got, s, err)
	}
}

func TestAnAddressThatFailsIsSpokenForByItsLastAnswerForAWhile(t *testing.T) {
	l := newLab(t, "dns+http://exporters:9401/v1/pressure")
	l.addresses = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
	for i, address := range l.addresses {
		l.tr[address+":9401"] = tells(map[string]float64{fmt.Sprint("i", i): 0})
	}
	if _, _, err := l.sample(t); err != nil {
		t.Fatal(err)
	}
	delete(l.tr, "10.0.0.2:9401")
	l.addresses = l.addresses[:2] // and the third one left the name
	l.now = l.now.Add(50 * time.Second)
	if got, s, err := l.sample(t); err != nil || got != "i0 0s, i1 50s" || s.Failed != 1 {
		t.Errorf("got %q, %+v, %v", got, s, err)
	}
	l.now = l.now.Add(20 * time.Second)
	if got, _, err := l.sample(t); err != nil || got != "i0 0s" {
		t.Errorf("after 70 s: got %q, %v", got, err)
	}
	delete(l.tr, "10.0.0.1:9401")
	if _, _, err := l.sample(t); err == nil || !strings.Contains(err.Error(), "none of 2 addresses answers") {
		t.Errorf("error %v", err)
	}
	l.lookup = errors.New("no such host")
	if _, _, err := l.sample(t); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("error %v", err)
	}
}

func TestAnExporterRecognisesItself(t *testing.T) {
	l := newLab(t, "http://one:9401/v1/pressure")
	l.tr["one:9401"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(IDHeader, "me")
		fmt.Fprint(w, `{"version":1,"instances":[{"name":"a","ageSeconds":0}]}`)
	}
	got, s, err := l.sample(t)
	if err != nil || got != "" || s.Notes["self"] != 1 {
		t.Errorf("got %q, %+v, %v", got, s, err)
	}
}

func TestPeersAreNotBelieved(t *testing.T) {
	document := func(instances string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"version":1,"instances":[%s]}`, instances)
		}
	}
	many, err := json.Marshal(strings.Repeat("x", 10))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    string // "error" if it is one
	}{
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "error"},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "error"},
		{"not modified, though nobody asked that", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "error"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://two:9401/there", http.StatusFound)
		}, "error"},
		{"gigabytes", func(w http.ResponseWriter, _ *http.Request) { endless(w) }, "error"},
		{"one instance that can't be read, beside another", document(`{"name":"a","running":"many"},{"name":"b","ageSeconds":1}`), "b 1s"},
		{"an endless age", document(`{"name":"a","ageSeconds":1e300}`), "a 8760h0m0s"},
		{"an age of the future", document(`{"name":"a","ageSeconds":-5}`), ""},
		{"more than the bound", document(strings.TrimSuffix(strings.Repeat(`{"name":`+string(many)+`,"ageSeconds":1},`, 9), ",")),
			"xxxxxxxxxx 1s, xxxxxxxxxx 1s, xxxxxxxxxx 1s, xxxxxxxxxx 1s, xxxxxxxxxx 1s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, "http://one:9401/v1/pressure")
			l.tr["one:9401"], l.tr["two:9401"] = test.handler, tells(map[string]float64{"elsewhere": 1})
			got, _, err := l.sample(t)
			if (err != nil) != (test.want == "error") {
				t.Fatalf("error %v", err)
			}
			if err == nil && got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// endless writes a document that doesn't end, until somebody has had enough.
func endless(w io.Writer) {
	piece := []byte(strings.Repeat(`{"name":"a","ageSeconds":1},`, 1024))
	_, err := fmt.Fprint(w, `{"version":1,"instances":[`)
	for written := 0; err == nil && written < 2*MaxBody; written += len(piece) {
		_, err = w.Write(piece)
	}
}

// Of many addresses each has its share of the memory, and what is more is an error of that one alone.
func TestAnswersOfAllAddressesTogetherAreBounded(t *testing.T) {
	l := newLab(t, "dns+http://exporters:9401/v1/pressure")
	var read [MaxAddresses]countingReader
	for n := range MaxAddresses {
		address := fmt.Sprintf("10.0.%d.%d", n/250, n%250+1)
		l.addresses = append(l.addresses, address)
		l.tr[address+":9401"] = tells(map[string]float64{fmt.Sprint("i", n): 1})
		if n%2 == 1 {
			l.bodies[address+":9401"] = &read[n]
		}
	}
	l.source.MaxInstances = MaxAddresses
	_, s, err := l.sample(t)
	if err != nil || len(s.Instances) != MaxAddresses/2 || s.Failed != MaxAddresses/2 {
		t.Errorf("%d instances, %d failed, %v", len(s.Instances), s.Failed, err)
	}
	var all int64
	for i := range read {
		all += read[i].n
	}
	if all > 2*MaxBodies {
		t.Errorf("%d bytes were read", all)
	}
}

// countingReader is an answer without an end.
type countingReader struct{ n int64 }

func (c *countingReader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	c.n += int64(len(b))
	return len(b), nil
}

func (*countingReader) Close() error { return nil }

// A merge of 1,000 exporters behind one name, over real connections.
func TestAThousandPeers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tells(map[string]float64{r.Host: 0})(w, r)
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := fetch.NewClient()
	defer client.CloseIdleConnections()
	name, err := url.Parse("dns+http://exporters:" + u.Port() + "/v1/pressure")
	if err != nil {
		t.Fatal(err)
	}
	s := New(name, Options{Client: client, Now: time.Now, Forget: time.Minute, MaxInstances: 1000, Resolve: func(context.Context, string) ([]string, error) {
		var all []string
		for n := range 1000 {
			all = append(all, fmt.Sprintf("10.0.%d.%d", n/250, n%250+1))
		}
		return all, nil
	}})
	client.Transport = oneAddress{next: client.Transport, host: u.Host}
	began := time.Now()
	sample, err := s.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("1,000 peers asked in %v, %d failed", time.Since(began), sample.Failed)
	if len(sample.Instances) != 1000 || sample.Targets != 1000 {
		t.Errorf("%d instances of %d targets", len(sample.Instances), sample.Targets)
	}
}

// oneAddress sends every request to one server, under the host it was meant for.
type oneAddress struct {
	next http.RoundTripper
	host string
}

func (o oneAddress) RoundTrip(r *http.Request) (*http.Response, error) {
	to := r.Clone(r.Context())
	to.Host, to.URL.Host = r.URL.Host, o.host
	return o.next.RoundTrip(to)
}
