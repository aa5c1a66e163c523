// Package probe asks containers how they are: startup, liveness and readiness probes by exec, HTTP, TCP and gRPC, on the
// wheel's timers. A container between two probes costs no goroutine.
//
// It decides about thresholds only; what an unhealthy container needs is life's decision. Only nodeagent imports it.
package probe
