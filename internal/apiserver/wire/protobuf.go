package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Message is what k8s.io/api's generated types can do.
type Message interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
}

// Magic starts every protobuf document of Kubernetes, on the wire and in etcd.
var Magic = []byte("k8s\x00")

// An envelope is magic and then a runtime.Unknown: typeMeta = 1 {apiVersion = 1, kind = 2}, raw = 2, contentEncoding = 3,
// contentType = 4. The last two are always present and empty.
const trailer = "\x1a\x00\x22\x00"

// EnvelopeHead is everything before the raw bytes of an object of n bytes.
func EnvelopeHead(dst []byte, gvk schema.GroupVersionKind, n int) []byte {
	dst = append(dst, Magic...)
	return unknownHead(dst, gvk, n)
}

func unknownHead(dst []byte, gvk schema.GroupVersionKind, n int) []byte {
	v, k := apiVersionLen(gvk), len(gvk.Kind)
	dst = append(dst, 0x0a)
	dst = binary.AppendUvarint(dst, uint64(2+varintLen(uint64(v))-1+v+2+varintLen(uint64(k))-1+k))
	dst = append(dst, 0x0a)
	dst = binary.AppendUvarint(dst, uint64(v))
	dst = appendAPIVersion(dst, gvk)
	dst = append(dst, 0x12)
	dst = binary.AppendUvarint(dst, uint64(k))
	dst = append(dst, gvk.Kind...)
	dst = append(dst, 0x12)
	return binary.AppendUvarint(dst, uint64(n))
}

// EnvelopeTail is everything after the raw bytes.
func EnvelopeTail(dst []byte) []byte { return append(dst, trailer...) }

// envelopeLen is the length of a whole envelope around n raw bytes.
func envelopeLen(gvk schema.GroupVersionKind, n int) int {
	v, k := apiVersionLen(gvk), len(gvk.Kind)
	meta := 1 + varintLen(uint64(v)) + v + 1 + varintLen(uint64(k)) + k
	return len(Magic) + 1 + varintLen(uint64(meta)) + meta + 1 + varintLen(uint64(n)) + n + len(trailer)
}

func apiVersionLen(gvk schema.GroupVersionKind) int {
	if gvk.Group == "" {
		return len(gvk.Version)
	}
	return len(gvk.Group) + 1 + len(gvk.Version)
}

func appendAPIVersion(dst []byte, gvk schema.GroupVersionKind) []byte {
	if gvk.Group != "" {
		dst = append(dst, gvk.Group...)
		dst = append(dst, '/')
	}
	return append(dst, gvk.Version...)
}

func varintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

// MarshalMessage encodes without an envelope.
func MarshalMessage(m Message) ([]byte, error) {
	buf := make([]byte, m.Size())
	n, err := m.MarshalToSizedBuffer(buf)
	if err != nil {
		return nil, err
	}
	return buf[len(buf)-n:], nil
}

// MarshalEnvelope encodes with the envelope, in one allocation.
func MarshalEnvelope(m Message, gvk schema.GroupVersionKind) ([]byte, error) {
	size := m.Size()
	buf := make([]byte, 0, envelopeLen(gvk, size))
	buf = EnvelopeHead(buf, gvk, size)
	at := len(buf)
	buf = buf[:at+size]
	n, err := m.MarshalToSizedBuffer(buf[at:])
	if err != nil {
		return nil, err
	}
	if n != size {
		return nil, fmt.Errorf("encode %s: %d bytes instead of %d", gvk, n, size)
	}
	return EnvelopeTail(buf), nil
}

// ErrNoMagic says that a document does not start with k8s\0.
var ErrNoMagic = errors.New("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")

// OpenEnvelope takes an envelope apart; raw shares memory with data.
func OpenEnvelope(data []byte) (gvk schema.GroupVersionKind, raw []byte, err error) {
	if !bytes.HasPrefix(data, Magic) {
		return gvk, nil, ErrNoMagic
	}
	var u runtime.Unknown
	if err := u.Unmarshal(data[len(Magic):]); err != nil {
		return gvk, nil, err
	}
	if u.ContentEncoding != "" || (u.ContentType != "" && u.ContentType != TypeProtobuf) {
		return gvk, nil, fmt.Errorf("decode protobuf envelope: content type %q with encoding %q", u.ContentType, u.ContentEncoding)
	}
	gv, err := schema.ParseGroupVersion(u.APIVersion)
	if err != nil {
		return gvk, nil, err
	}
	return gv.WithKind(u.Kind), u.Raw, nil
}
