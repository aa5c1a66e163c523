package runspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/life"
)

// The kernel's units for CPU: shares are 1024 a core (at least 2), quota is microseconds of each period.
const (
	sharesPerCPU  = 1024
	MinShares     = 2
	MaxShares     = 262144
	quotaPeriod   = 100000
	minimumQuota  = 1000
	guaranteedAdj = -997
	bestEffortAdj = 1000
)

// Shares converts milli-CPUs to cpu.shares.
func Shares(milli int64) int64 {
	return min(max(milli*sharesPerCPU/1000, MinShares), MaxShares)
}

// Quota converts a limit in milli-CPUs to microseconds a period; 0: no limit.
func Quota(milli int64) (quota, period int64) {
	if milli == 0 {
		return 0, quotaPeriod
	}
	return max(milli*quotaPeriod/1000, minimumQuota), quotaPeriod
}

// Resources converts a container's requests and limits. memory is the node's capacity in bytes; unified tells whether
// the node's memory controller is cgroup v2's.
func Resources(pod *corev1.Pod, c *corev1.Container, memory int64, unified bool) *runtimeapi.LinuxContainerResources {
	limits := c.Resources.Limits
	if pod.Spec.Resources != nil { // pod-level limits bound containers that have none. Source: KEP-2837.
		limits = limits.DeepCopy()
		for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if q, ok := pod.Spec.Resources.Limits[n]; ok {
				if _, own := limits[n]; !own {
					if limits == nil {
						limits = corev1.ResourceList{}
					}
					limits[n] = q
				}
			}
		}
	}
	req, cpu := c.Resources.Requests.Cpu(), limits.Cpu()
	if req.IsZero() && !c.Resources.Limits.Cpu().IsZero() {
		req = cpu
	}
	r := &runtimeapi.LinuxContainerResources{CpuShares: Shares(req.MilliValue()), MemoryLimitInBytes: limits.Memory().Value(),
		OomScoreAdj: OOMScoreAdj(pod, c, memory)}
	r.CpuQuota, r.CpuPeriod = Quota(cpu.MilliValue())
	for name, q := range c.Resources.Limits {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			r.HugepageLimits = append(r.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: hugeName(size), Limit: uint64(q.Value())})
		}
	}
	if unified {
		r.Unified = map[string]string{"memory.oom.group": "1"}
		r.MemorySwapLimitInBytes = r.MemoryLimitInBytes
	}
	return r
}

// hugeName turns Kubernetes' 2Mi into the kernel's 2MB.
func hugeName(size string) string {
	if strings.HasSuffix(size, "i") {
		return strings.TrimSuffix(size, "i") + "B"
	}
	return size
}

// OOMScoreAdj is how readily the kernel kills a container's processes. Source: "Node out of memory behavior".
func OOMScoreAdj(pod *corev1.Pod, c *corev1.Container, memory int64) int64 {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= 2000001000 { // system-node-critical
		return guaranteedAdj
	}
	switch life.QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedAdj
	case corev1.PodQOSBestEffort:
		return bestEffortAdj
	}
	if memory <= 0 {
		return bestEffortAdj - 1
	}
	adj := 1000 - 1000*c.Resources.Requests.Memory().Value()/memory
	return min(max(adj, 1000+guaranteedAdj), bestEffortAdj-1)
}
