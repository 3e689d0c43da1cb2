package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/plot"
)

// The retreat: an upstream that allows less than it is said to, for a while. A minute takes 1.2 seconds, with the default's
// times made as much shorter: a fiftieth.
const (
	minute        = 1200 * time.Millisecond
	baseRate      = 40 // requests a minute: what the upstream is said to allow
	allowedRate   = 30 // what it allows while it is short
	askers        = 20 // clients that ask again as soon as they have an answer
	afterAnswer   = 20 * time.Millisecond
	settlingParts = 3 // the first of so many parts of the short time is for finding the rate
)

// retreatConfig is the default configuration, but for the times and the mode.
const retreatConfig = `{"requestHold":"stopIteration","upstreams":[{"name":"provider",
	"budget":{"requests":40,"window":"1200ms","burst":40},
	"retreat":{"mode":%q,"window":"1200ms","every":"100ms","recoverWindow":"2400ms"}}]}`

// provider is that upstream.
type provider struct {
	began time.Time
	short [2]time.Duration // since when, and until when, it allows less

	mu       sync.Mutex
	balance  float64 // a token bucket of a minute's worth
	filled   time.Time
	arrivals []arrival
}

// arrival is a request that came to the provider.
type arrival struct {
	at      time.Duration
	limited bool
}

// ServeHTTP implements http.Handler. Its 429 don't say when to come back: what they are worth is found by the retreat alone.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	if !p.take(time.Now()) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error":{"message":"too many","type":"requests","code":"rate_limit_exceeded"}}`)
		return
	}
	_, _ = w.Write(jsonAnswer("yes"))
}

func (p *provider) take(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := arrival{at: now.Sub(p.began)}
	p.balance = min(p.balance+now.Sub(p.filled).Seconds()/minute.Seconds()*allowedRate, allowedRate)
	p.filled = now
	if a.at >= p.short[0] && a.at < p.short[1] {
		a.limited = p.balance < 1
	}
	if !a.limited {
		p.balance = max(p.balance-1, 0)
	}
	p.arrivals = append(p.arrivals, a)
	return !a.limited
}

// yielding is one run of it.
type yielding struct {
	rate    []float64 // requests a minute that came to the provider, by minute
	limited []float64 // the share of 429 among them
	share   float64   // of 429 while it was short
	settled float64   // requests a minute in the later parts of that time
	after   float64   // requests a minute in the last quarter of the time after it
}

// measureRetreat runs with retreat and without at the same time: both are slow.
func (b *bench) measureRetreat(ctx context.Context) error {
	modes := []string{"off", "enforce"}
	runs, errs := make([]*yielding, len(modes)), make([]error, len(modes))
	var all sync.WaitGroup
	for i, mode := range modes {
		all.Go(func() { runs[i], errs[i] = b.yield(ctx, mode) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return err
		}
		b.say("retreat %s: %.0f a minute, %.1f %% 429", modes[i], runs[i].settled, 100*runs[i].share)
	}
	b.yields = runs
	return nil
}

func (b *bench) yield(ctx context.Context, mode string) (*yielding, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &provider{balance: allowedRate}
	server := &http.Server{Handler: p}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	e, err := b.startEnvoy(ctx, b.scenario("retreat-"+mode, listener.Addr().String(), fmt.Sprintf(retreatConfig, mode)), manyWorkers, manyClients)
	if err != nil {
		return nil, err
	}
	defer e.stop()
	third := time.Duration(b.retreatMinutes/5) * minute
	p.began, p.filled, p.short = time.Now(), time.Now(), [2]time.Duration{third, 4 * third}
	askAll(ctx, e.gateway, 5*third)
	return p.judge(third), ctx.Err()
}

// askAll has all clients ask for a time.
func askAll(ctx context.Context, gateway string, duration time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	client := newScenarioClient(requestTimeout)
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() {
			for ctx.Err() == nil {
				shoot(ctx, client, gateway, "normal", false, i, 1)
				pause(afterAnswer)
			}
		})
	}
	all.Wait()
}

// judge makes figures of the arrivals. part is a fifth of the time, of which the middle three were short.
func (p *provider) judge(part time.Duration) *yielding {
	p.mu.Lock()
	defer p.mu.Unlock()
	y := &yielding{}
	for from := time.Duration(0); from < 5*part; from += minute {
		rate, limited := p.between(from, from+minute)
		y.rate, y.limited = append(y.rate, rate), append(y.limited, limited)
	}
	_, y.share = p.between(p.short[0], p.short[1])
	y.settled, _ = p.between(p.short[0]+(p.short[1]-p.short[0])/settlingParts, p.short[1])
	y.after, _ = p.between(5*part-part/4, 5*part)
	return y
}

// between is the rate of requests in a time, a minute, and the share of 429.
func (p *provider) between(from, to time.Duration) (rate, limited float64) {
	n, refused := 0, 0
	for _, a := range p.arrivals {
		if a.at >= from && a.at < to {
			n++
			if a.limited {
				refused++
			}
		}
	}
	return float64(n) / (to - from).Seconds() * minute.Seconds(), float64(refused) / float64(max(n, 1))
}

func (b *bench) retreatTable() string {
	t := newTable("", "429 that clients saw while it was short", "requests a minute, once settled", "a minute after it")
	for i, name := range []string{"retreat off", "retreat on"} {
		y := b.yields[i]
		t.row(name, fmt.Sprintf("%.1f %%", 100*y.share), fmt.Sprintf("%.1f", y.settled), fmt.Sprintf("%.1f", y.after))
	}
	return t.String()
}

// drawRetreat writes the plot beside the report.
func (b *bench) drawRetreat(out string) error {
	if b.yields == nil {
		return nil
	}
	from, to := float64(b.retreatMinutes)/5, float64(b.retreatMinutes)*4/5
	allowed := plot.Line{Name: "allowed", Color: "#888888", Dashed: true, At: []float64{from, from, to, to}, Values: []float64{baseRate, allowedRate, allowedRate, baseRate}}
	rates := plot.Plot{Title: "requests a minute to the upstream", Top: 1.5 * baseRate, Lines: []plot.Line{allowed}}
	shares := plot.Plot{Title: "% answered 429", Top: 40}
	for i, name := range []string{"retreat off", "retreat on"} {
		color := []string{"#d1495b", "#00798c"}[i]
		rates.Lines = append(rates.Lines, overTime(name, color, b.yields[i].rate, 1))
		shares.Lines = append(shares.Lines, overTime(name, color, b.yields[i].limited, 100))
	}
	svg := plot.Draw(float64(b.retreatMinutes), "minutes", rates, shares)
	return os.WriteFile(filepath.Join(filepath.Dir(out), "retreat.svg"), []byte(svg), 0o644)
}

// overTime is a line of values of whole minutes.
func overTime(name, color string, values []float64, scale float64) plot.Line {
	l := plot.Line{Name: name, Color: color}
	for i, v := range values {
		l.At, l.Values = append(l.At, float64(i)+0.5), append(l.Values, v*scale)
	}
	return l
}
