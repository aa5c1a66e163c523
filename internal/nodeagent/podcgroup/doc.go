// Package podcgroup keeps the cgroups that stand above containers: one for all pods, one a quality-of-service class and
// one a pod, in cgroup v1, v2 and hybrid set-ups. Containers' own cgroups are the runtime's.
//
//	ROOT/kubepods/podUID               guaranteed pods
//	ROOT/kubepods/burstable/podUID
//	ROOT/kubepods/besteffort/podUID
//
// Only nodeagent imports it.
package podcgroup
