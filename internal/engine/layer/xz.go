package layer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads the xz container (The .xz File Format 1.1.0) around the library's LZMA2 decoder. Every block says how large a dictionary its
// decoder needs, and a library that believes it can be made to take gigabytes by a few bytes: here each block's wish is bounded first.
type xzReader struct {
	r     *bufio.Reader
	n     int64 // bytes read from r, for padding
	check byte
	block io.Reader // nil between blocks
	sum   hash.Hash
	began bool
	err   error
}

var (
	xzMagic   = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	crc64ECMA = crc64.MakeTable(crc64.ECMA)
)

func newXzReader(r *bufio.Reader) *xzReader { return &xzReader{r: r} }

func (x *xzReader) bad(what string) error { return fmt.Errorf("read xz: %w: %s", ErrArchive, what) }

// ReadByte and fill count what the decoder takes. Both together keep it from buffering beyond its block.
func (x *xzReader) ReadByte() (byte, error) {
	b, err := x.r.ReadByte()
	if err == nil {
		x.n++
	}
	return b, err
}

func (x *xzReader) fill(p []byte) error {
	n, err := io.ReadFull(x.r, p)
	x.n += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// blockInput is what the decoder of one block reads.
type blockInput struct{ x *xzReader }

func (b blockInput) ReadByte() (byte, error) { return b.x.ReadByte() }
func (b blockInput) Read(p []byte) (int, error) {
	n, err := b.x.r.Read(p)
	b.x.n += int64(n)
	return n, err
}

func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if err == io.EOF {
			x.block, err = nil, x.endBlock()
		}
		x.err = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// next goes on to the next block, over the ends and beginnings of streams.
func (x *xzReader) next() error {
	if !x.began {
		return x.streamHeader()
	}
	size, err := x.ReadByte()
	if err != nil {
		return fmt.Errorf("read xz: %w", io.ErrUnexpectedEOF)
	}
	if size == 0 {
		return x.endStream()
	}
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if err := x.fill(h[1:]); err != nil {
		return fmt.Errorf("read xz: %w", err)
	}
	body, sum := h[:len(h)-4], binary.LittleEndian.Uint32(h[len(h)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return x.bad("block header's checksum")
	}
	dict, err := xzDictionary(body)
	if err != nil {
		return err
	}
	switch x.check {
	case 0:
		x.sum = nil
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64ECMA)
	case 10:
		x.sum = sha256.New()
	default:
		return x.bad("unknown check")
	}
	x.n = 0 // headers are multiples of four: padding counts from here
	x.block, err = lzma.Reader2Config{DictCap: dict}.NewReader2(blockInput{x})
	return err
}

func (x *xzReader) streamHeader() error {
	var h [12]byte
	if err := x.fill(h[:]); err != nil {
		return fmt.Errorf("read xz: %w", err)
	}
	if !bytes.Equal(h[:6], xzMagic) || h[6] != 0 || h[7] > 15 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return x.bad("stream header")
	}
	x.check, x.began = h[7], true
	return nil
}

// xzDictionary reads a block header: one filter, LZMA2, with a dictionary that is not too large.
func xzDictionary(b []byte) (int, error) {
	bad := fmt.Errorf("read xz: %w: unusual block header", ErrArchive)
	flags, p := b[1], 2
	if flags&0x3f != 0 { // more filters than one, or reserved bits
		return 0, bad
	}
	for _, bit := range []byte{0x40, 0x80} {
		if flags&bit == 0 {
			continue
		}
		_, n := binary.Uvarint(b[p:])
		if n <= 0 {
			return 0, bad
		}
		p += n
	}
	if p+3 > len(b) || b[p] != 0x21 || b[p+1] != 1 || b[p+2] > 40 {
		return 0, bad
	}
	d := b[p+2]
	size := uint64(2|uint64(d&1)) << (d/2 + 11)
	if size > maxWindow {
		return 0, fmt.Errorf("read xz: %w: dictionary of %d bytes", ErrLimit, size)
	}
	return int(max(size, lzma.MinDictCap)), nil
}

// endBlock reads padding and check.
func (x *xzReader) endBlock() error {
	for x.n%4 != 0 {
		if b, err := x.ReadByte(); err != nil || b != 0 {
			return x.bad("block padding")
		}
	}
	if x.sum == nil {
		return nil
	}
	want := make([]byte, x.sum.Size())
	if err := x.fill(want); err != nil {
		return fmt.Errorf("read xz: %w", err)
	}
	got := x.sum.Sum(nil)
	if x.check != 10 { // the CRCs are stored with the low byte first
		for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
			got[i], got[j] = got[j], got[i]
		}
	}
	if !bytes.Equal(got, want) {
		return x.bad("block's checksum")
	}
	return nil
}

// endStream reads index and footer, and finds the next stream or the end. The index repeats what the blocks said: it is skipped.
func (x *xzReader) endStream() error {
	x.n = 1 // the index's first byte
	records, err := binary.ReadUvarint(x)
	if err != nil || records > 1<<40 {
		return x.bad("index")
	}
	for range 2 * records {
		if _, err := binary.ReadUvarint(x); err != nil {
			return x.bad("index")
		}
	}
	for x.n%4 != 0 {
		if b, err := x.ReadByte(); err != nil || b != 0 {
			return x.bad("index padding")
		}
	}
	var tail [4 + 12]byte // the index's checksum, the footer
	if err := x.fill(tail[:]); err != nil {
		return fmt.Errorf("read xz: %w", err)
	}
	if tail[14] != 'Y' || tail[15] != 'Z' || tail[13] != x.check {
		return x.bad("stream footer")
	}
	x.began = false
	for { // stream padding: zeros in fours
		four, err := x.r.Peek(4)
		if len(four) == 0 && errors.Is(err, io.EOF) {
			return io.EOF
		}
		if len(four) < 4 {
			return x.bad("bytes after the stream")
		}
		if !bytes.Equal(four, []byte{0, 0, 0, 0}) {
			return nil
		}
		if _, err := x.r.Discard(4); err != nil {
			return err
		}
	}
}
