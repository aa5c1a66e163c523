package wire

import (
	"encoding/binary"
	"io"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ListMeta is the metadata of a list.
type ListMeta struct {
	ResourceVersion string
	Continue        string
	Remaining       *int64
}

func (m ListMeta) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"resourceVersion":`...)
	dst = strconv.AppendQuote(dst, m.ResourceVersion)
	if m.Continue != "" {
		dst = append(dst, `,"continue":`...)
		dst = strconv.AppendQuote(dst, m.Continue)
	}
	if m.Remaining != nil {
		dst = append(dst, `,"remainingItemCount":`...)
		dst = strconv.AppendInt(dst, *m.Remaining, 10)
	}
	return append(dst, '}')
}

// appendProto writes metav1.ListMeta: selfLink = 1, resourceVersion = 2, continue = 3, remainingItemCount = 4.
func (m ListMeta) appendProto(dst []byte) []byte {
	dst = append(dst, 0x0a, 0)
	dst = append(dst, 0x12)
	dst = binary.AppendUvarint(dst, uint64(len(m.ResourceVersion)))
	dst = append(dst, m.ResourceVersion...)
	dst = append(dst, 0x1a)
	dst = binary.AppendUvarint(dst, uint64(len(m.Continue)))
	dst = append(dst, m.Continue...)
	if m.Remaining != nil {
		dst = append(dst, 0x20)
		dst = binary.AppendUvarint(dst, uint64(*m.Remaining))
	}
	return dst
}

// WriteJSONList writes a list around items that are JSON documents. item is called with 0 … n-1.
func WriteJSONList(w io.Writer, gvk schema.GroupVersionKind, meta ListMeta, n int, item func(int) ([]byte, error)) error {
	out := chunks{w: w}
	head := make([]byte, 0, 256)
	head = append(head, `{"kind":"`...)
	head = append(head, gvk.Kind...)
	head = append(head, `","apiVersion":"`...)
	head = appendAPIVersion(head, gvk)
	head = append(head, `","metadata":`...)
	head = meta.appendJSON(head)
	head = append(head, `,"items":[`...)
	out.add(head)
	for i := range n {
		b, err := item(i)
		if err != nil {
			return err
		}
		if i > 0 {
			out.addByte(',')
		}
		out.add(b)
	}
	out.add([]byte("]}\n"))
	return out.flush()
}

// WriteProtoList writes a list message (metadata = 1, items = 2) in its envelope around items that are messages.
func WriteProtoList(w io.Writer, gvk schema.GroupVersionKind, meta ListMeta, items [][]byte) error {
	m := meta.appendProto(make([]byte, 0, 64+len(meta.Continue)))
	size := 1 + varintLen(uint64(len(m))) + len(m)
	for _, b := range items {
		size += 1 + varintLen(uint64(len(b))) + len(b)
	}
	out := chunks{w: w}
	head := EnvelopeHead(make([]byte, 0, 128), gvk, size)
	head = append(head, 0x0a)
	head = binary.AppendUvarint(head, uint64(len(m)))
	out.add(head)
	out.add(m)
	var tag [11]byte
	tag[0] = 0x12
	for _, b := range items {
		out.add(tag[:1+binary.PutUvarint(tag[1:], uint64(len(b)))])
		out.add(b)
	}
	out.add([]byte(trailer))
	return out.flush()
}

// chunks gathers small writes into large ones: each write to an HTTP/2 stream is a message between goroutines.
type chunks struct {
	w   io.Writer
	buf []byte
	err error
}

// Record is how much goes into one write: with the header of its HTTP/2 frame it fills one TLS record, which is one system
// call. A larger write would be cut into frames of 16 KiB, each of which takes a full record and one more for its last bytes.
const Record = 16<<10 - 9

func (c *chunks) add(b []byte) {
	if c.err != nil {
		return
	}
	if c.buf == nil {
		c.buf = make([]byte, 0, Record)
	}
	for len(c.buf)+len(b) > Record {
		n := Record - len(c.buf)
		c.buf = append(c.buf, b[:n]...)
		b = b[n:]
		c.drain()
	}
	c.buf = append(c.buf, b...)
}

func (c *chunks) addByte(b byte) { c.add([]byte{b}) }

func (c *chunks) drain() {
	if len(c.buf) > 0 && c.err == nil {
		_, c.err = c.w.Write(c.buf)
	}
	c.buf = c.buf[:0]
}

func (c *chunks) flush() error {
	c.drain()
	return c.err
}
