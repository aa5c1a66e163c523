package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	content "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"nau/internal/docker/buildkit/wire"
)

// What goes with a record, beside it in the history's folder: what the build told, as messages each after its length in four bytes, the least first;
// how long its steps took, as spans in JSON; and its provenance. Clients that export a record or show its trace read them by digest.
const (
	suffixStory  = ".status"
	suffixTrace  = ".trace"
	suffixProven = ".provenance"

	mediaStory  = "application/vnd.buildkit.status.v0"
	mediaTrace  = "application/vnd.buildkit.otlp.json.v0"
	mediaInToto = "application/vnd.in-toto+json"

	predicateNote = "in-toto.io/predicate-type"
)

// keep writes what goes with a record, and describes it.
func (h *history) keep(ref, suffix, media string, write func(io.Writer) error) (*wire.Descriptor, error) {
	name := h.file(ref, suffix)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	n := &count64{}
	if err := errors.Join(write(io.MultiWriter(f, sum, n)), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return nil, err
	}
	return &wire.Descriptor{MediaType: media, Digest: digest.NewDigest(digest.SHA256, sum).String(), Size: n.n}, nil
}

// count64 counts what is written.
type count64 struct{ n int64 }

func (c *count64) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

// putMessage writes a message after its length.
func putMessage(w io.Writer, m proto.Message) (int, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return 0, err
	}
	return w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...))
}

// takeMessage reads a message; io.EOF = there is none.
func takeMessage(r io.Reader, m proto.Message) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > 2*maxStory {
		return fmt.Errorf("a message of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return io.ErrUnexpectedEOF
	}
	return proto.Unmarshal(b, m)
}

// blob finds what goes with a record by its digest.
func (h *history) blob(sum string) (name string, d *wire.Descriptor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, rec := range h.done {
		kept := map[string]*wire.Descriptor{suffixStory: rec.Logs, suffixTrace: rec.Trace}
		if list := rec.Result.GetAttestations(); len(list) > 0 {
			kept[suffixProven] = list[0]
		}
		for suffix, d := range kept {
			if d != nil && d.Digest == sum {
				return h.file(rec.Ref, suffix), d
			}
		}
	}
	return "", nil
}

// contents serves what goes with records to who has read them, as a content store that cannot be written to.
type contents struct {
	content.UnimplementedContentServer
	h *history
}

func (c *contents) find(sum string) (string, *wire.Descriptor, error) {
	name, d := c.h.blob(sum)
	if d == nil {
		return "", nil, status.Errorf(codes.NotFound, "content %s: not found: only what goes with a build's record is served", sum)
	}
	return name, d, nil
}

// Info tells the size of a blob.
func (c *contents) Info(_ context.Context, req *content.InfoRequest) (*content.InfoResponse, error) {
	_, d, err := c.find(req.Digest)
	if err != nil {
		return nil, err
	}
	return &content.InfoResponse{Info: &content.Info{Digest: d.Digest, Size: d.Size}}, nil
}

// Read sends a part of a blob, or all of it.
func (c *contents) Read(req *content.ReadContentRequest, stream content.Content_ReadServer) error {
	name, d, err := c.find(req.Digest)
	if err != nil {
		return err
	}
	end := d.Size
	if req.Size > 0 {
		end = min(end, req.Offset+req.Size)
	}
	if req.Offset < 0 || req.Size < 0 || req.Offset > d.Size {
		return status.Errorf(codes.OutOfRange, "read content %s: it has %d bytes, not %d after %d", d.Digest, d.Size, req.Size, req.Offset)
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read content %s: %w", d.Digest, err)
	}
	defer f.Close()
	for at := req.Offset; at < end; {
		b := make([]byte, min(maxPiece, end-at))
		if _, err := f.ReadAt(b, at); err != nil {
			return fmt.Errorf("read content %s: %w", d.Digest, err)
		}
		if err := stream.Send(&content.ReadContentResponse{Offset: at, Data: b}); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return nil
}
