package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the values of all metrics at one moment, by their names without the
// prefix. Only names in Definitions are allowed.
type Metrics map[string][]Value

// Value is one value of a metric.
type Value struct {
	Labels []string // values, in the order of the definition
	Number float64
	// Histogram, instead of Number.
	Bounds []float64 // upper bounds of the buckets
	Counts []uint64  // by bucket, one more than Bounds
	Sum    float64
}

// Add adds a value.
func (m Metrics) Add(name string, number float64, labels ...string) {
	m[name] = append(m[name], Value{Number: number, Labels: labels})
}

// AddHistogram adds a histogram. counts has one element more than bounds.
func (m Metrics) AddHistogram(name string, bounds []float64, counts []uint64, sum float64, labels ...string) {
	m[name] = append(m[name], Value{Bounds: bounds, Counts: counts, Sum: sum, Labels: labels})
}

const prefix = "quorate_"

const (
	scrapeTimeout = 10 * time.Second
	maxScrapes    = 4
)

// Definition describes a metric.
type Definition struct {
	Name   string
	Type   Type
	Help   string
	Labels []string
}

// Type is the type of a metric.
type Type uint8

// The types.
const (
	Gauge Type = iota
	Counter
	Histogram
)

// collector passes a member's values to Prometheus.
type collector struct {
	values func() Metrics
	descs  map[string]*prometheus.Desc
}

func newCollector(values func() Metrics) *collector {
	c := &collector{values: values, descs: map[string]*prometheus.Desc{}}
	for _, d := range Definitions {
		c.descs[d.Name] = prometheus.NewDesc(prefix+d.Name, d.Help, d.Labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector. A value that does not fit its
// definition is an error of the scrape.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	values := c.values()
	for _, d := range Definitions {
		desc := c.descs[d.Name]
		for _, v := range values[d.Name] {
			m, err := metric(desc, d.Type, v)
			if err != nil {
				m = prometheus.NewInvalidMetric(desc, err)
			}
			out <- m
		}
	}
}

func metric(desc *prometheus.Desc, t Type, v Value) (prometheus.Metric, error) {
	if t != Histogram {
		kind := prometheus.GaugeValue
		if t == Counter {
			kind = prometheus.CounterValue
		}
		return prometheus.NewConstMetric(desc, kind, v.Number, v.Labels...)
	}
	// In Prometheus each bucket includes those below it.
	buckets := make(map[float64]uint64, len(v.Bounds))
	var n uint64
	for i, c := range v.Counts {
		n += c
		if i < len(v.Bounds) {
			buckets[v.Bounds[i]] = n
		}
	}
	return prometheus.NewConstHistogram(desc, n, v.Sum, buckets, v.Labels...)
}

func metricsHandler(values func() Metrics) http.Handler {
	// Each member has its own registry: a process may have several members.
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(values), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		Registry: r, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	})
}

// Names returns the names of all metrics of a member, in order.
func Names() []string {
	var names []string
	for _, d := range Definitions {
		names = append(names, prefix+d.Name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}
