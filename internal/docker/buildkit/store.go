package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	content "github.com/containerd/containerd/api/services/content/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"nau/internal/engine/image"
)

// keyStore is the request header that chooses one of the client's stores.
const keyStore = "buildkit-attachable-store-id"

// maxPiece is how much of a blob goes in one message.
const maxPiece = 1 << 20

// put writes a blob into a store of the client's. One that it has is left alone.
func (c *client) put(ctx context.Context, store string, d ocispec.Descriptor, r io.Reader) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write blob %s to the client: %w", d.Digest, err)
		}
	}()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, keyStore, store))
	defer cancel()
	cc := content.NewContentClient(c.Conn())
	if _, err := cc.Info(ctx, &content.InfoRequest{Digest: d.Digest.String()}); err == nil {
		return nil
	}
	stream, err := cc.Write(ctx)
	if err != nil {
		return err
	}
	ask := func(req *content.WriteContentRequest) error {
		req.Ref, req.Total, req.Expected = "nau-"+d.Digest.String(), d.Size, d.Digest.String()
		if err := stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		_, err := stream.Recv()
		return err
	}
	err = ask(&content.WriteContentRequest{Action: content.WriteAction_STAT})
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	buf := make([]byte, maxPiece)
	for at := int64(0); err == nil; {
		n, rerr := io.ReadFull(r, buf)
		if n > 0 {
			err = ask(&content.WriteContentRequest{Action: content.WriteAction_WRITE, Offset: at, Data: buf[:n]})
			at += int64(n)
		}
		switch {
		case err != nil:
		case rerr == io.EOF || rerr == io.ErrUnexpectedEOF:
			err = ask(&content.WriteContentRequest{Action: content.WriteAction_COMMIT, Offset: at})
			if err == nil || status.Code(err) == codes.AlreadyExists {
				return nil
			}
		default:
			err = rerr
		}
	}
	return err
}

// get reads a blob of a store of the client's.
func (c *client) get(ctx context.Context, store string, d ocispec.Descriptor) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, keyStore, store))
	stream, err := content.NewContentClient(c.Conn()).Read(ctx, &content.ReadContentRequest{Digest: d.Digest.String()})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read blob %s of the client: %w", d.Digest, err)
	}
	r, w := io.Pipe()
	go func() {
		defer cancel()
		for {
			m, err := stream.Recv()
			if err == nil {
				_, err = w.Write(m.Data)
			}
			if err != nil {
				w.CloseWithError(err) // io.EOF is the end
				return
			}
		}
	}()
	return r, nil
}

// putImages writes images, and the index that names them, into a store of the client's.
func (c *client) putImages(ctx context.Context, store string, images *image.Store, m made) error {
	return images.Blobs(m.images, m.target, func(d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
		r, err := open()
		if err != nil {
			return err
		}
		defer r.Close()
		return c.put(ctx, store, d, r)
	})
}

// putBytes writes a small blob into a store of the client's.
func (c *client) putBytes(ctx context.Context, store string, d ocispec.Descriptor, b []byte) error {
	return c.put(ctx, store, d, bytes.NewReader(b))
}
