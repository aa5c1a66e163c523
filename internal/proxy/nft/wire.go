package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// batch is a netlink transaction under construction: a row of nf_tables messages between a begin and an end. Everything is appended
// to one buffer; nothing is allocated per message or attribute.
type batch struct {
	buf  []byte
	seq  uint32
	msg  int    // offset of the open message
	last int    // offset of the last finished one
	sets uint32 // added so far
}

var be, ne = binary.BigEndian, binary.NativeEndian

func newBatch(seq uint32) *batch {
	b := &batch{seq: seq}
	b.control(unix.NFNL_MSG_BATCH_BEGIN)
	return b
}

// control appends the begin or end of a batch.
func (b *batch) control(kind uint16) {
	b.head(kind, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.finish()
}

func (b *batch) head(kind uint16, flags uint16, family uint8, resource uint16) {
	b.msg = len(b.buf)
	b.buf = ne.AppendUint32(b.buf, 0) // length, set by finish
	b.buf = ne.AppendUint16(b.buf, kind)
	b.buf = ne.AppendUint16(b.buf, flags|unix.NLM_F_REQUEST)
	b.buf = ne.AppendUint32(b.buf, b.seq)
	b.buf = ne.AppendUint32(b.buf, 0)
	b.seq++
	b.buf = append(b.buf, family, unix.NFNETLINK_V0)
	b.buf = be.AppendUint16(b.buf, resource)
}

// open starts an nf_tables message.
func (b *batch) open(kind uint16, flags uint16) {
	b.head(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags, unix.NFPROTO_INET, 0)
}

func (b *batch) finish() {
	ne.PutUint32(b.buf[b.msg:], uint32(len(b.buf)-b.msg))
	b.last = b.msg
}

// seal asks for an answer to the last message, ends the batch, and returns it with that message's sequence number.
func (b *batch) seal() (buf []byte, ack uint32) {
	flags := b.last + 6
	ne.PutUint16(b.buf[flags:], ne.Uint16(b.buf[flags:])|unix.NLM_F_ACK)
	ack = ne.Uint32(b.buf[b.last+8:])
	b.control(unix.NFNL_MSG_BATCH_END)
	return b.buf, ack
}

// attribute header, payload, padding to four bytes
func (b *batch) attr(kind uint16, n int) {
	b.buf = ne.AppendUint16(b.buf, uint16(n+4))
	b.buf = ne.AppendUint16(b.buf, kind)
}

func (b *batch) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *batch) bytes(kind uint16, v []byte) {
	b.attr(kind, len(v))
	b.buf = append(b.buf, v...)
	b.pad()
}

func (b *batch) text(kind uint16, v string) {
	b.attr(kind, len(v)+1)
	b.buf = append(b.buf, v...)
	b.buf = append(b.buf, 0)
	b.pad()
}

func (b *batch) u32(kind uint16, v uint32) {
	b.attr(kind, 4)
	b.buf = be.AppendUint32(b.buf, v)
}

func (b *batch) u64(kind uint16, v uint64) {
	b.attr(kind, 8)
	b.buf = be.AppendUint64(b.buf, v)
}

func (b *batch) u8(kind uint16, v uint8) {
	b.attr(kind, 1)
	b.buf = append(b.buf, v, 0, 0, 0)
}

// nest starts an attribute that holds others; the answer closes it.
func (b *batch) nest(kind uint16) (at int) {
	at = len(b.buf)
	b.buf = ne.AppendUint16(b.buf, 0)
	b.buf = ne.AppendUint16(b.buf, kind|unix.NLA_F_NESTED)
	return at
}

func (b *batch) close(at int) {
	ne.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
}

// value is a NFTA_DATA_VALUE inside the attribute kind.
func (b *batch) value(kind uint16, v ...byte) {
	at := b.nest(kind)
	b.bytes(unix.NFTA_DATA_VALUE, v)
	b.close(at)
}

// verdict is a NFTA_DATA_VERDICT inside the attribute kind.
func (b *batch) verdict(kind uint16, code int32, chain string) {
	at := b.nest(kind)
	in := b.nest(unix.NFTA_DATA_VERDICT)
	b.u32(unix.NFTA_VERDICT_CODE, uint32(code))
	if chain != "" {
		b.text(unix.NFTA_VERDICT_CHAIN, chain)
	}
	b.close(in)
	b.close(at)
}
