package export

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fleet"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// readings is a source of GPUs.
type readings []gpu.Reading

func (r readings) Sample(context.Context) (source.Sample, error) {
	return source.Sample{GPUs: r}, nil
}

// scrape gives the series of two sources, and whether all of them could be written.
func scrape(t *testing.T, first, second readings) (series []string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		board := source.NewBoard(time.Now, slog.New(slog.DiscardHandler))
		timing := source.Timing{Interval: time.Second, Deadline: time.Second}
		board.Add("first", source.NVML, first, timing)
		board.Add("second", source.Simulated, second, timing)
		ctx, cancel := context.WithCancel(t.Context())
		board.Start(ctx)
		synctest.Wait()
		view := func(states []*source.State, now time.Time) fleet.View {
			return fleet.Compose(states, fleet.Options{Node: "n", MaxInstances: 10, DropAfter: time.Minute}, now)
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(New(Options{Board: board, View: view, Now: time.Now}))
		families, gathered := registry.Gather()
		err = gathered
		for _, f := range families {
			for _, m := range f.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
				series = append(series, f.GetName()+" "+strings.Join(labels, " "))
			}
		}
		cancel()
		board.Wait()
	})
	return series, err
}

// A GPU has one series of each metric, whoever tells of it and at whatever place in the driver's list.
func TestAGPUHasOneSeries(t *testing.T) {
	used := uint64(1)
	series, err := scrape(t,
		readings{{Index: 0, UUID: "x", Name: "A", MemoryUsed: &used}, {Index: 1, UUID: "x", Name: "A", MemoryUsed: &used}, {Index: 1, UUID: "y", Name: "A", MemoryUsed: &used}},
		readings{{Index: 7, UUID: "y", Name: "B", MemoryUsed: &used}, {Index: 0, UUID: "z", Name: "A", MemoryUsed: &used}})
	if err != nil {
		t.Error(err)
	}
	var got []string
	for _, s := range series {
		if rest, ok := strings.CutPrefix(s, "gpuexporter_gpu_memory_used_bytes "); ok {
			got = append(got, rest)
		}
	}
	want := "gpu=0 name=A uuid=x, gpu=0 name=A uuid=z, gpu=1 name=A uuid=y"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
}

// What a driver says is not always text: one such GPU doesn't take the others' series along.
func TestAGPUWithANameThatIsNoText(t *testing.T) {
	series, err := scrape(t, readings{{UUID: "x", Name: "\xff"}, {Index: 1, UUID: "y", Name: "A"}}, nil)
	if err == nil {
		t.Error("no error: want one that the log shows")
	}
	if all := strings.Join(series, "\n"); !strings.Contains(all, "gpuexporter_gpu_lost gpu=1 name=A uuid=y") {
		t.Errorf("got\n%s", all)
	}
}
