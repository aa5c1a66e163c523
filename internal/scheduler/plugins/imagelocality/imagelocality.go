// Package imagelocality prefers nodes that already hold the pod's large images.
package imagelocality

import (
	"strings"

	"nau/internal/scheduler/plugin"
)

// Bounds of the sum of image sizes that count: below nothing is won, above
// nothing more. The figures are kube-scheduler's.
const (
	least = 23 << 20
	most  = 1000 << 20
)

type rule struct{}

// New gives the rule.
func New() plugin.Scorer { return rule{} }

func (rule) Name() string        { return "ImageLocality" }
func (rule) Weight() int64       { return 1 }
func (rule) Shape() plugin.Shape { return plugin.Percent }

func (rule) Score(p *plugin.Pod, n *plugin.Node) int64 {
	if len(n.Object.Status.Images) == 0 {
		return 0
	}
	containers := p.Object.Spec.Containers
	var sum int64
	for i := range containers {
		want := tagged(containers[i].Image)
		for j := range n.Object.Status.Images {
			image := &n.Object.Status.Images[j]
			for _, name := range image.Names {
				if name == want || name == "docker.io/library/"+want {
					sum += image.SizeBytes
					break
				}
			}
		}
	}
	top := int64(most) * int64(len(containers))
	sum = min(max(sum, least), top)
	if top <= least {
		return 0
	}
	return 100 * (sum - least) / (top - least)
}

func tagged(image string) string {
	if strings.Contains(image, "@") || strings.LastIndex(image, ":") > strings.LastIndex(image, "/") {
		return image
	}
	return image + ":latest"
}
