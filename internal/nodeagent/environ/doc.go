// Package environ works out a container's environment: literals, references, $(VAR) expansion, the variables of services,
// and the pod's fields and resources, which downward API volumes use too.
//
// It reads nothing itself: objects come through the functions in Sources. Only nodeagent and its rooms import it.
package environ
