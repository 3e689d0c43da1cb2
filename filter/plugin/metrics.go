package plugin

import (
	"github.com/spillway-proxy/spillway/filter/abi"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// metrics are the host's ids of the series. Each is defined when it is first set, once a VM: the host gives a new id for each
// definition. The core bounds how many there are.
type metrics struct {
	ids [metric.Count][]defined
}

// defined is a series with its id. A worker has few of a metric, and mostly one at a time: the last one used comes first.
type defined struct {
	series metric.Series
	id     uint32
}

// update carries out a change. The host's call that records a histogram's sample sets gauges.
func (m *metrics) update(u *metric.Update) {
	id := m.id(&u.Series)
	if u.Series.Kind() == metric.KindCounter {
		_ = abi.IncrementMetric(id, u.N)
	} else {
		_ = abi.RecordMetric(id, uint64(u.N))
	}
}

// add counts one.
func (m *metrics) add(counter metric.Counter) {
	u := counter.Add(1)
	m.update(&u)
}

// retire sets the gauges of upstreams to 0 that are not kept: a gauge can't be taken back, and nobody sets these any more.
func (m *metrics) retire(kept func(upstream string) bool) {
	for _, list := range m.ids {
		for i := range list {
			gauge := &list[i]
			if gauge.series.Kind() != metric.KindGauge {
				continue
			}
			if upstream, has := gauge.series.Value("upstream"); has && !kept(upstream) {
				_ = abi.RecordMetric(gauge.id, 0)
			}
		}
	}
}

func (m *metrics) id(series *metric.Series) uint32 {
	list := m.ids[series.ID()]
	for i := range list {
		if list[i].series == *series {
			list[0], list[i] = list[i], list[0]
			return list[0].id
		}
	}
	id := define(series.Kind(), series.Name())
	m.ids[series.ID()] = append(list, defined{*series, id})
	return id
}

func define(kind metric.Kind, name string) uint32 {
	kinds := [...]abi.Kind{metric.KindCounter: abi.Counter, metric.KindGauge: abi.Gauge, metric.KindHistogram: abi.Histogram}
	id, _ := abi.DefineMetric(kinds[kind], name)
	return id
}
