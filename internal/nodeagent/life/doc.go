// Package life decides what a pod needs next and what its status is. It is pure: a pod's spec, what the runtime has, what
// probes said and the time go in; actions, reasons and a PodStatus come out.
//
// It has no clock, no client and no runtime; nodeagent acts on its plans. Only nodeagent and tests import it.
package life
