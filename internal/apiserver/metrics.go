package apiserver

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the numbers that upstream's dashboards and alerts scrape, under the same names.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	running  *prometheus.GaugeVec

	// series remembers what belongs to a kind of request, so that a request looks up no labels.
	series sync.Map // seriesKey → series
}

type seriesKey struct {
	group, version, resource, subresource, verb, scope, dryRun string
	code                                                       int
}

type series struct {
	count prometheus.Counter
	took  prometheus.Observer
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_total",
			Help: "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code."},
			[]string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_duration_seconds",
			Help:    "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}},
			[]string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_longrunning_requests",
			Help: "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource and scope."},
			[]string{"verb", "group", "version", "resource", "subresource", "scope", "component"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.running, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

var metricVerbs = map[string]string{
	"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
	"delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}

func (m *metrics) observe(c *call, took time.Duration) {
	k := seriesKey{verb: metricVerbs[c.info.Verb], code: c.w.code}
	if k.verb == "" {
		k.verb = "other"
	}
	if c.ep != nil { // labels come from what is served, never from what clients send
		k.group, k.version, k.resource = c.ep.gvr.Group, c.ep.gvr.Version, c.ep.gvr.Resource
		if c.sub != nil {
			k.subresource = c.sub.Name
			if c.sub.Connect {
				k.verb = "CONNECT"
			}
		}
		switch {
		case c.info.Name != "":
			k.scope = "resource"
		case c.info.Namespace != "":
			k.scope = "namespace"
		default:
			k.scope = "cluster"
		}
		if len(c.query["dryRun"]) > 0 {
			k.dryRun = "All"
		}
	}
	if !k.codeKnown() {
		k.code = 0
	}
	s, ok := m.series.Load(k)
	if !ok {
		s, _ = m.series.LoadOrStore(k, series{
			count: m.requests.WithLabelValues(k.verb, k.dryRun, k.group, k.version, k.resource, k.subresource, k.scope, "apiserver", strconv.Itoa(k.code)),
			took:  m.duration.WithLabelValues(k.verb, k.dryRun, k.group, k.version, k.resource, k.subresource, k.scope, "apiserver"),
		})
	}
	v := s.(series)
	v.count.Inc()
	if k.verb != "WATCH" && k.verb != "CONNECT" {
		v.took.Observe(took.Seconds())
	}
}

func (k seriesKey) codeKnown() bool { return k.code >= 100 && k.code < 600 }
