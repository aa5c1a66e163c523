// Package fakecri is a container runtime without processes: it keeps sandboxes and containers in memory, answers CRI v1,
// and ends containers when it is told to. Tests of the node agent run over it, and so do simulated nodes, thousands in
// one process: an idle runtime has no goroutine and costs a few kilobytes.
//
// It is not a server: New returns something that satisfies CRI's client interfaces directly.
package fakecri
