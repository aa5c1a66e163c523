package buildkit

import (
	"context"
	"errors"
	"os"
	"path"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
)

// folder finds where the files of a result of this build are.
func (b *bridge) folder(ctx context.Context, ref string) (string, error) {
	j, err := b.job(ctx)
	if err != nil {
		return "", err
	}
	r, err := j.result(ref)
	if err != nil {
		return "", err
	}
	if r.res == nil {
		return r.dir, nil
	}
	return r.res.Folder()
}

// missing is the error of a file that is not there.
func missing(name string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return status.Errorf(codes.NotFound, "open %s: no such file or directory", name)
	}
	return err
}

// ReadFile reads a file of a result.
func (b *bridge) ReadFile(ctx context.Context, req *wire.ReadFileRequest) (*wire.ReadFileResponse, error) {
	dir, err := b.folder(ctx, req.Ref)
	if err != nil {
		return nil, err
	}
	data, err := build.ReadBelow(dir, relative(req.Path))
	if err != nil {
		return nil, missing(req.Path, err)
	}
	if r := req.Range; r != nil {
		data = data[min(max(r.Offset, 0), int64(len(data))):]
		if r.Length > 0 {
			data = data[:min(r.Length, int64(len(data)))]
		}
	}
	return &wire.ReadFileResponse{Data: data}, nil
}

// ReadDir lists a folder of a result.
func (b *bridge) ReadDir(ctx context.Context, req *wire.ReadDirRequest) (*wire.ReadDirResponse, error) {
	dir, err := b.folder(ctx, req.Ref)
	if err != nil {
		return nil, err
	}
	list, err := build.ListBelow(dir, relative(req.Path))
	if err != nil {
		return nil, missing(req.Path, err)
	}
	out := &wire.ReadDirResponse{}
	for _, f := range list {
		if ok, err := path.Match(req.Include, f.Name); req.Include != "" && (err != nil || !ok) {
			continue
		}
		out.Entries = append(out.Entries, stat(f))
	}
	return out, nil
}

// StatFile describes a file of a result.
func (b *bridge) StatFile(ctx context.Context, req *wire.StatFileRequest) (*wire.StatFileResponse, error) {
	dir, err := b.folder(ctx, req.Ref)
	if err != nil {
		return nil, err
	}
	f, err := build.StatBelow(dir, relative(req.Path))
	if err != nil {
		return nil, missing(req.Path, err)
	}
	return &wire.StatFileResponse{Stat: stat(f)}, nil
}

func stat(f build.File) *wire.Stat {
	return &wire.Stat{Path: f.Name, Mode: uint32(f.Mode), Uid: f.UID, Gid: f.GID, Size: f.Size, ModTime: f.Changed.UnixNano(), Linkname: f.Link}
}

// Warn adds a warning to the build's story.
func (b *bridge) Warn(ctx context.Context, req *wire.WarnRequest) (*wire.WarnResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	j.story.tell(&wire.StatusResponse{Warnings: []*wire.VertexWarning{{Vertex: req.Digest, Level: req.Level, Short: req.Short, Detail: req.Detail, Url: req.Url, Info: req.Info, Ranges: req.Ranges}}})
	return &wire.WarnResponse{}, nil
}
