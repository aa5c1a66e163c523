package wire

import (
	"encoding/binary"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// AppendJSONEvent appends one event of a JSON watch stream; object is a whole JSON document.
func AppendJSONEvent(dst []byte, kind string, object []byte) []byte {
	dst = AppendJSONEventHead(dst, kind)
	dst = append(dst, object...)
	return append(dst, JSONEventTail...)
}

// AppendJSONEventHead appends what stands before the object of an event, and JSONEventTail is what stands behind it: for objects
// that are too large to be copied.
func AppendJSONEventHead(dst []byte, kind string) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, kind...)
	return append(dst, `","object":`...)
}

// JSONEventTail ends an event.
const JSONEventTail = "}\n"

// AppendJSONEventOf is AppendJSONEvent for a document without kind and apiVersion, which are put in.
func AppendJSONEventOf(dst []byte, kind string, gvk schema.GroupVersionKind, bare []byte) []byte {
	dst = AppendJSONEventHead(dst, kind)
	dst = AppendJSONObject(dst, gvk, bare)
	return append(dst, JSONEventTail...)
}

// AppendJSONObject appends a document that has no kind and apiVersion, with them.
func AppendJSONObject(dst []byte, gvk schema.GroupVersionKind, bare []byte) []byte {
	dst = append(dst, `{"kind":"`...)
	dst = append(dst, gvk.Kind...)
	dst = append(dst, `","apiVersion":"`...)
	dst = appendAPIVersion(dst, gvk)
	dst = append(dst, '"')
	if len(bare) > 2 {
		dst = append(dst, ',')
	}
	return append(dst, bare[1:]...)
}

// AppendProtoEvent appends one frame of a protobuf watch stream: its length in four bytes, big endian, then
// metav1.WatchEvent (type = 1, object = 2 {raw = 1}) around the object's envelope. raw is the bare message.
func AppendProtoEvent(dst []byte, kind string, gvk schema.GroupVersionKind, raw []byte) []byte {
	dst = AppendProtoEventHead(dst, kind, gvk, len(raw))
	dst = append(dst, raw...)
	return EnvelopeTail(dst)
}

// AppendProtoEventHead appends what stands before the n bytes of an event's message; EnvelopeTail is what stands behind them.
func AppendProtoEventHead(dst []byte, kind string, gvk schema.GroupVersionKind, n int) []byte {
	env := envelopeLen(gvk, n)
	ext := 1 + varintLen(uint64(env)) + env
	total := 1 + varintLen(uint64(len(kind))) + len(kind) + 1 + varintLen(uint64(ext)) + ext
	dst = binary.BigEndian.AppendUint32(dst, uint32(total))
	dst = append(dst, 0x0a)
	dst = binary.AppendUvarint(dst, uint64(len(kind)))
	dst = append(dst, kind...)
	dst = append(dst, 0x12)
	dst = binary.AppendUvarint(dst, uint64(ext))
	dst = append(dst, 0x0a)
	dst = binary.AppendUvarint(dst, uint64(env))
	return EnvelopeHead(dst, gvk, n)
}
