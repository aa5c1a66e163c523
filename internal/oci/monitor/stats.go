package monitor

// Stats are a container's resource figures, read from its cgroup. A figure the kernel does not give is zero.
type Stats struct {
	CPU    CPUStats    `json:"cpu"`
	Memory MemoryStats `json:"memory"`
	Pids   PidsStats   `json:"pids"`
	IO     []IOStats   `json:"io,omitempty"`
}

// CPUStats: times in nanoseconds.
type CPUStats struct {
	Usage            uint64   `json:"usage"`
	User             uint64   `json:"user"`
	System           uint64   `json:"system"`
	PerCPU           []uint64 `json:"perCPU,omitempty"` // usage of each processor, where it is counted
	Periods          uint64   `json:"periods,omitempty"`
	ThrottledPeriods uint64   `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64   `json:"throttledTime,omitempty"`
}

// MemoryStats: bytes, except faults. WorkingSet is usage less inactive file pages, as the kubelet counts it.
type MemoryStats struct {
	Usage        uint64 `json:"usage"`
	MaxUsage     uint64 `json:"maxUsage,omitempty"`
	Limit        uint64 `json:"limit,omitempty"` // 0: none
	WorkingSet   uint64 `json:"workingSet"`
	RSS          uint64 `json:"rss"`
	Cache        uint64 `json:"cache"`
	InactiveFile uint64 `json:"inactiveFile"`
	Swap         uint64 `json:"swap,omitempty"`
	PageFaults   uint64 `json:"pageFaults"`
	MajorFaults  uint64 `json:"majorFaults"`
	OOMKills     uint64 `json:"oomKills,omitempty"`
}

// PidsStats counts tasks. Limit 0 is none.
type PidsStats struct {
	Current uint64 `json:"current"`
	Limit   uint64 `json:"limit,omitempty"`
}

// IOStats are one block device's figures, in bytes and operations.
type IOStats struct {
	Major      uint64 `json:"major"`
	Minor      uint64 `json:"minor"`
	ReadBytes  uint64 `json:"readBytes"`
	WriteBytes uint64 `json:"writeBytes"`
	ReadOps    uint64 `json:"readOps"`
	WriteOps   uint64 `json:"writeOps"`
}
