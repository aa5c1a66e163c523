package fakecri

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (r *Runtime) image(name string) *runtimeapi.Image {
	if r.opts.Images != nil {
		return r.opts.Images[name]
	}
	return &runtimeapi.Image{Id: name, RepoTags: []string{name}, Size: 1 << 20}
}

// ImageStatus implements CRI: an image is there once it was pulled or added, or always where Options.Images is nil.
func (r *Runtime) ImageStatus(_ context.Context, in *runtimeapi.ImageStatusRequest, _ ...grpc.CallOption) (*runtimeapi.ImageStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["ImageStatus"]++
	if img := r.images[in.GetImage().GetImage()]; img != nil {
		return &runtimeapi.ImageStatusResponse{Image: img}, nil
	}
	if r.opts.Images == nil {
		return &runtimeapi.ImageStatusResponse{Image: r.image(in.GetImage().GetImage())}, nil
	}
	return &runtimeapi.ImageStatusResponse{}, nil
}

// PullImage implements CRI.
func (r *Runtime) PullImage(_ context.Context, in *runtimeapi.PullImageRequest, _ ...grpc.CallOption) (*runtimeapi.PullImageResponse, error) {
	name := in.GetImage().GetImage()
	if err := r.fail("PullImage", name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulls++
	img := r.image(name)
	if img == nil {
		return nil, status.Errorf(codes.NotFound, "pull image %q: not found", name)
	}
	r.images[name] = img
	return &runtimeapi.PullImageResponse{ImageRef: img.Id}, nil
}

// ListImages implements CRI.
func (r *Runtime) ListImages(context.Context, *runtimeapi.ListImagesRequest, ...grpc.CallOption) (*runtimeapi.ListImagesResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListImagesResponse{}
	for _, img := range r.images {
		out.Images = append(out.Images, img)
	}
	return out, nil
}

// RemoveImage implements CRI.
func (r *Runtime) RemoveImage(_ context.Context, in *runtimeapi.RemoveImageRequest, _ ...grpc.CallOption) (*runtimeapi.RemoveImageResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, img := range r.images {
		if name == in.GetImage().GetImage() || img.Id == in.GetImage().GetImage() {
			delete(r.images, name)
		}
	}
	return &runtimeapi.RemoveImageResponse{}, nil
}

// ImageFsInfo implements CRI.
func (r *Runtime) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest, ...grpc.CallOption) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}

// StreamImages implements CRI.
func (r *Runtime) StreamImages(ctx context.Context, in *runtimeapi.StreamImagesRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[runtimeapi.StreamImagesResponse], error) {
	l, err := r.ListImages(ctx, &runtimeapi.ListImagesRequest{Filter: in.GetFilter()})
	return inPieces(ctx, l.GetImages(), err, func(p []*runtimeapi.Image) *runtimeapi.StreamImagesResponse {
		return &runtimeapi.StreamImagesResponse{Images: p}
	})
}
