// Package node keeps this machine's Node object and its lease: registration, addresses, capacity, conditions, and the sign
// of life every ten seconds. The status is written when it changes and every five minutes.
//
// It knows no pods. Only nodeagent imports it.
package node
