// Package runspec says in CRI's words what a pod's spec asks for: sandbox and container configurations, security contexts,
// resources, names, DNS and the hosts file.
//
// It is pure apart from being handed the node's facts; it calls no runtime. Only nodeagent imports it.
package runspec
