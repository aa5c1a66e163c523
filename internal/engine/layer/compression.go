package layer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression of an archive, told by its first bytes.
type Compression int

const (
	Plain Compression = iota
	Gzip
	Zstd
	Xz
	Bzip2
)

// maxWindow bounds the memory that an archive's header can ask a decompressor for.
const maxWindow = 128 << 20

var magics = []struct {
	compression Compression
	magic       []byte
}{
	{Gzip, []byte{0x1f, 0x8b}},
	{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{Xz, []byte{0xfd, '7', 'z', 'X', 'Z', 0}},
	{Bzip2, []byte("BZh")},
}

// Detect tells the compression of an archive that starts with head.
func Detect(head []byte) Compression {
	for _, m := range magics {
		if bytes.HasPrefix(head, m.magic) {
			return m.compression
		}
	}
	// A zstd stream may start with a skippable frame (RFC 8878 section 3.1.2), as seekable layers do.
	if len(head) >= 4 && binary.LittleEndian.Uint32(head)&0xfffffff0 == 0x184d2a50 {
		return Zstd
	}
	return Plain
}

// Decompress reads an archive in whatever compression it comes. No program is ever run for it. Closing frees the decompressor, not r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(32)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	switch Detect(head) {
	case Gzip:
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read gzip: %w: %w", ErrArchive, err)
		}
		return z, nil
	case Zstd:
		// One goroutine: layers are unpacked beside each other already. Low memory: history buffers grow with need.
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<62))
		if err != nil {
			return nil, fmt.Errorf("read zstd: %w: %w", ErrArchive, err)
		}
		return z.IOReadCloser(), nil
	case Xz:
		return io.NopCloser(newXzReader(br)), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(br)), nil
	}
	return io.NopCloser(br), nil
}
