// Package noderesources keeps pods off nodes that lack what they request, and
// prefers nodes with much left, evenly used.
package noderesources

import (
	"math"

	"nau/internal/scheduler/plugin"
)

// Fit is the filter and the "least allocated" score.
type Fit struct{}

// New gives the rule.
func New() Fit { return Fit{} }

func (Fit) Name() string        { return "NodeResourcesFit" }
func (Fit) Weight() int64       { return 1 }
func (Fit) Shape() plugin.Shape { return plugin.Percent }

func (Fit) Filter(p *plugin.Pod, n *plugin.Node) plugin.Rejection {
	var reasons []string
	if n.PodCount+1 > n.MaxPods {
		reasons = append(reasons, "Too many pods")
	}
	lasting := true
	check := func(name string, want, have, used int64) {
		if want > 0 && want > have-used {
			reasons = append(reasons, "Insufficient "+name)
			lasting = lasting && want > have
		}
	}
	check("cpu", p.Requests.MilliCPU, n.Allocatable.MilliCPU, n.Requested.MilliCPU)
	check("memory", p.Requests.Memory, n.Allocatable.Memory, n.Requested.Memory)
	check("ephemeral-storage", p.Requests.Ephemeral, n.Allocatable.Ephemeral, n.Requested.Ephemeral)
	for name, want := range p.Requests.Extended {
		check(string(name), want, n.Allocatable.Extended[name], n.Requested.Extended[name])
	}
	if len(reasons) == 0 {
		return plugin.Rejection{}
	}
	if reasons[0] == "Too many pods" {
		lasting = n.MaxPods == 0
	}
	return plugin.Rejection{Plugin: "NodeResourcesFit", Reasons: reasons, Lasting: lasting}
}

// Score is the mean share of CPU and memory that would be left, in percent.
func (Fit) Score(p *plugin.Pod, n *plugin.Node) int64 {
	return (left(n.Allocatable.MilliCPU, n.Scoring.MilliCPU+p.Scoring.MilliCPU) +
		left(n.Allocatable.Memory, n.Scoring.Memory+p.Scoring.Memory)) / 2
}

func left(have, used int64) int64 {
	if have == 0 || used > have {
		return 0
	}
	return (have - used) * 100 / have
}

func (f Fit) Helps(e plugin.Event, p *plugin.Pod) bool {
	switch e.Kind {
	case plugin.NodeAdded, plugin.NodeChanged:
		return f.Filter(p, e.Node).OK()
	case plugin.PodLeft, plugin.PodShrunk:
		return e.Node == nil || f.Filter(p, e.Node).OK()
	case plugin.PodChanged:
		return true
	}
	return false
}

// Balanced prefers nodes whose CPU and memory would be used to like shares.
type Balanced struct{}

// NewBalanced gives the scorer.
func NewBalanced() Balanced { return Balanced{} }

func (Balanced) Name() string        { return "NodeResourcesBalancedAllocation" }
func (Balanced) Weight() int64       { return 1 }
func (Balanced) Shape() plugin.Shape { return plugin.Percent }

// Score is 100 less the standard deviation of the used shares in percent. Pods
// that request nothing are not balanced, as in kube-scheduler.
func (Balanced) Score(p *plugin.Pod, n *plugin.Node) int64 {
	if p.Requests.MilliCPU == 0 && p.Requests.Memory == 0 {
		return 0
	}
	cpu := share(n.Requested.MilliCPU+p.Requests.MilliCPU, n.Allocatable.MilliCPU)
	memory := share(n.Requested.Memory+p.Requests.Memory, n.Allocatable.Memory)
	return int64((1 - math.Abs(cpu-memory)/2) * 100)
}

func share(used, have int64) float64 {
	if have == 0 {
		return 1
	}
	return math.Min(1, float64(used)/float64(have))
}
