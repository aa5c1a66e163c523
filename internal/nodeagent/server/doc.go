// Package server is the node's HTTPS API: pods, logs, exec, attach, port-forward, statistics and metrics, each behind
// authentication and authorization, as upstream serves them on port 10250.
//
// It decides nothing about pods: what it tells and does comes from a Backend and from CRI. Only nodeagent imports it.
package server
