// Package wire speaks the media types of the Kubernetes API: JSON, YAML and protobuf, alone, in lists and in watch streams.
//
// It puts envelopes around objects that are encoded already, so that a list or a watch event is a copy of shared bytes and
// never an encoding of its own. It knows no resource and does no I/O beyond the writer it is given. Only apiserver and its
// sub-packages import it.
package wire
