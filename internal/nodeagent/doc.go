// Package nodeagent is what runs on every node: it takes the pods that are bound to the node and makes a container
// runtime run them, reports what became of them, keeps the Node object and its lease, and serves the node's API (logs,
// exec, metrics) on port 10250. It does what upstream calls the kubelet.
//
// It is not a container engine. It knows the runtime through CRI v1 only, so that Nau's engine, containerd or CRI-O can
// stand below it, and it sees the cluster through a client only.
//
// The rooms below it: life decides (pure), volume mounts, environ and runspec translate a pod into CRI's words, images
// pulls, probe asks containers how they are, logs reads log files, node keeps the Node object, server answers requests,
// fakecri is a runtime without processes.
//
// Only internal/cluster, the simulators and tests may import it.
package nodeagent
