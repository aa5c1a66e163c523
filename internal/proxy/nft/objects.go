package nft

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Messages about whole objects: tables, chains, sets and their elements.

func (b *batch) addTable(name string) {
	b.open(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
	b.text(unix.NFTA_TABLE_NAME, name)
	b.u32(unix.NFTA_TABLE_FLAGS, 0)
	b.finish()
}

func (b *batch) deleteTable(name string) {
	b.open(unix.NFT_MSG_DELTABLE, 0)
	b.text(unix.NFTA_TABLE_NAME, name)
	b.finish()
}

func (b *batch) addChain(table, name string) {
	b.open(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	b.text(unix.NFTA_CHAIN_TABLE, table)
	b.text(unix.NFTA_CHAIN_NAME, name)
	b.finish()
}

func (b *batch) addBaseChain(table, name, kind string, hook uint32, priority int32) {
	b.open(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	b.text(unix.NFTA_CHAIN_TABLE, table)
	b.text(unix.NFTA_CHAIN_NAME, name)
	at := b.nest(unix.NFTA_CHAIN_HOOK)
	b.u32(unix.NFTA_HOOK_HOOKNUM, hook)
	b.u32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
	b.close(at)
	b.u32(unix.NFTA_CHAIN_POLICY, nfAccept)
	b.text(unix.NFTA_CHAIN_TYPE, kind)
	b.finish()
}

func (b *batch) deleteChain(table, name string) {
	b.open(unix.NFT_MSG_DELCHAIN, 0)
	b.text(unix.NFTA_CHAIN_TABLE, table)
	b.text(unix.NFTA_CHAIN_NAME, name)
	b.finish()
}

// flushChain removes all rules of a chain.
func (b *batch) flushChain(table, name string) {
	b.open(unix.NFT_MSG_DELRULE, 0)
	b.text(unix.NFTA_RULE_TABLE, table)
	b.text(unix.NFTA_RULE_CHAIN, name)
	b.finish()
}

// set describes a set or map.
type set struct {
	name             string
	flags            uint32
	keyType, keyLen  uint32
	dataType, length uint32 // of the data of a map; length 0 for verdicts
	size             uint32 // bound, 0 for none
	timeout          uint64 // milliseconds
}

func (b *batch) addSet(table string, s set) {
	b.open(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
	b.text(unix.NFTA_SET_TABLE, table)
	b.text(unix.NFTA_SET_NAME, s.name)
	b.u32(unix.NFTA_SET_FLAGS, s.flags)
	b.u32(unix.NFTA_SET_KEY_TYPE, s.keyType)
	b.u32(unix.NFTA_SET_KEY_LEN, s.keyLen)
	if s.flags&unix.NFT_SET_MAP != 0 {
		b.u32(unix.NFTA_SET_DATA_TYPE, s.dataType)
		if s.dataType != unix.NFT_DATA_VERDICT {
			b.u32(unix.NFTA_SET_DATA_LEN, s.length)
		}
	}
	if s.size > 0 {
		at := b.nest(unix.NFTA_SET_DESC)
		b.u32(unix.NFTA_SET_DESC_SIZE, s.size)
		b.close(at)
	}
	if s.timeout > 0 {
		b.u64(unix.NFTA_SET_TIMEOUT, s.timeout)
	}
	b.sets++
	b.u32(unix.NFTA_SET_ID, b.sets) // the kernel wants one; we speak of sets by name
	b.finish()
}

func (b *batch) deleteSet(table, name string) {
	b.open(unix.NFT_MSG_DELSET, 0)
	b.text(unix.NFTA_SET_TABLE, table)
	b.text(unix.NFTA_SET_NAME, name)
	b.finish()
}

// elements is a message that adds or removes elements of one set.
type elements struct {
	b    *batch
	list int
}

func (b *batch) elements(kind uint16, table, set string) elements {
	b.open(kind, unix.NLM_F_CREATE)
	b.text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b.text(unix.NFTA_SET_ELEM_LIST_SET, set)
	return elements{b, b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)}
}

func (e elements) done() {
	e.b.close(e.list)
	e.b.finish()
}

// full tells that the list's attribute, whose length has 16 bits, cannot take another element.
func (e elements) full() bool { return len(e.b.buf)-e.list > 60000 }

func (e elements) key(k []byte) {
	at := e.b.nest(unix.NFTA_LIST_ELEM)
	e.b.value(unix.NFTA_SET_ELEM_KEY, k...)
	e.b.close(at)
}

func (e elements) verdict(k []byte, code int32, chain string) {
	at := e.b.nest(unix.NFTA_LIST_ELEM)
	e.b.value(unix.NFTA_SET_ELEM_KEY, k...)
	e.b.verdict(unix.NFTA_SET_ELEM_DATA, code, chain)
	e.b.close(at)
}

func (e elements) data(k, v []byte) {
	at := e.b.nest(unix.NFTA_LIST_ELEM)
	e.b.value(unix.NFTA_SET_ELEM_KEY, k...)
	e.b.value(unix.NFTA_SET_ELEM_DATA, v...)
	e.b.close(at)
}

// The forms of keys and data: every part starts at a register of four bytes.

func addrProtoPort(buf []byte, a netip.Addr, proto uint8, port uint16) []byte {
	buf = append(buf[:0], a.AsSlice()...)
	buf = append(buf, proto, 0, 0, 0)
	return append(be.AppendUint16(buf, port), 0, 0)
}

func protoPort(buf []byte, proto uint8, port uint16) []byte {
	buf = append(buf[:0], proto, 0, 0, 0)
	return append(be.AppendUint16(buf, port), 0, 0)
}

func addrPort(buf []byte, ap netip.AddrPort) []byte {
	buf = append(buf[:0], ap.Addr().AsSlice()...)
	return append(be.AppendUint16(buf, ap.Port()), 0, 0)
}
