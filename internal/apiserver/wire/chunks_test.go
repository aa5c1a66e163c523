package wire

import (
	"bytes"
	"testing"
)

// pieces takes note of the size of each write.
type pieces struct {
	bytes.Buffer
	sizes []int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.sizes = append(p.sizes, len(b))
	return p.Buffer.Write(b)
}

// Every write but the last fills a record, whatever the size of the items.
func TestListsFillRecords(t *testing.T) {
	for _, size := range []int{0, 1, 100, Record - 1, Record, Record + 1, 3*Record + 7} {
		var out pieces
		var want bytes.Buffer
		c := chunks{w: &out}
		for i := range 9 {
			item := bytes.Repeat([]byte{byte('a' + i)}, size)
			c.add(item)
			c.addByte(',')
			want.Write(item)
			want.WriteByte(',')
		}
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), want.Bytes()) {
			t.Errorf("items of %d bytes: what came out is not what went in", size)
		}
		for i, n := range out.sizes {
			if n != Record && i < len(out.sizes)-1 || n > Record {
				t.Errorf("items of %d bytes: write %d of %d has %d bytes", size, i, len(out.sizes), n)
			}
		}
	}
}
