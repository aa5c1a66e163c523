package cri

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/image"
)

// ListImages lists the images, all fronts' alike.
func (s *Server) ListImages(_ context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	resp := &runtimeapi.ListImagesResponse{}
	if name := req.GetFilter().GetImage().GetImage(); name != "" {
		if img, err := s.e.Images.Get(name); err == nil {
			resp.Images = append(resp.Images, imageOf(img))
		}
		return resp, nil
	}
	for _, img := range s.e.Images.List() {
		resp.Images = append(resp.Images, imageOf(img))
	}
	return resp, nil
}

// StreamImages is ListImages in pages.
func (s *Server) StreamImages(req *runtimeapi.StreamImagesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	all, err := s.ListImages(stream.Context(), &runtimeapi.ListImagesRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return sendPages(all.GetImages(), stream, func(p []*runtimeapi.Image) *runtimeapi.StreamImagesResponse {
		return &runtimeapi.StreamImagesResponse{Images: p}
	})
}

func imageOf(img *image.Image) *runtimeapi.Image {
	out := &runtimeapi.Image{Id: img.ID.String(), Size: uint64(max(0, img.Size)), Pinned: img.Pinned, Spec: &runtimeapi.ImageSpec{Annotations: img.Config.Config.Labels}}
	for _, t := range img.RepoTags {
		out.RepoTags = append(out.RepoTags, fullRef(t))
	}
	for _, d := range img.RepoDigests {
		out.RepoDigests = append(out.RepoDigests, fullRef(d))
	}
	out.Spec = &runtimeapi.ImageSpec{Image: out.Id}
	user, _, _ := strings.Cut(img.Config.Config.User, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		out.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		out.Username = user
	}
	return out
}

// elsewhere tells of an image that is here for other platforms only, while its index has one for this node.
func elsewhere(images *image.Store, img *image.Image) bool {
	host := image.HostPlatform()
	if image.Suits(host, img) {
		return false
	}
	for _, m := range images.Manifests(img) {
		if !m.Available && m.Attests == "" && image.SuitsPlatform(host, m.Platform) {
			return true
		}
	}
	return false
}

// ImageStatus tells about one image; none is an empty answer, not an error.
func (s *Server) ImageStatus(_ context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	name := req.GetImage().GetImage()
	if name == "" {
		return nil, invalid("find image: no name")
	}
	img, err := s.e.Images.Get(name)
	if err == nil && elsewhere(s.e.Images, img) {
		err = image.ErrNotFound // so that this node's is pulled beside it
	}
	if errors.Is(err, image.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, fault(err)
	}
	resp := &runtimeapi.ImageStatusResponse{Image: imageOf(img)}
	if req.GetVerbose() {
		b, err := json.Marshal(map[string]any{"imageSpec": img.Config, "chainID": img.DiffIDs})
		if err != nil {
			return nil, internalError(err)
		}
		resp.Info = map[string]string{"info": string(b)}
	}
	return resp, nil
}

// PullImage brings an image and answers with its ID.
func (s *Server) PullImage(ctx context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	name := req.GetImage().GetImage()
	if name == "" {
		return nil, invalid("pull image: no name")
	}
	auth, err := authOf(req.GetAuth())
	if err != nil {
		return nil, err
	}
	img, err := s.e.Images.Pull(ctx, name, image.PullOptions{Auth: auth})
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.PullImageResponse{ImageRef: img.ID.String()}, nil
}

// authOf translates credentials; the combined form is base64 of "user:password".
func authOf(a *runtimeapi.AuthConfig) (*image.Auth, error) {
	if a == nil {
		return nil, nil
	}
	out := &image.Auth{Username: a.GetUsername(), Password: a.GetPassword(), IdentityToken: a.GetIdentityToken(), RegistryToken: a.GetRegistryToken()}
	if a.GetAuth() != "" && out.Username == "" {
		b, err := base64.StdEncoding.DecodeString(a.GetAuth())
		if err != nil {
			return nil, invalid("pull image: credentials are not base64")
		}
		user, password, ok := strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
		if !ok {
			return nil, invalid("pull image: credentials have no colon")
		}
		out.Username, out.Password = user, password
	}
	if *out == (image.Auth{}) {
		return nil, nil
	}
	return out, nil
}

// RemoveImage removes an image with all its names. Removing what does not exist succeeds.
func (s *Server) RemoveImage(ctx context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	name := req.GetImage().GetImage()
	if name == "" {
		return nil, invalid("remove image: no name")
	}
	img, err := s.e.Images.Get(name)
	if errors.Is(err, image.ErrNotFound) {
		return &runtimeapi.RemoveImageResponse{}, nil
	}
	if err == nil {
		_, err = s.e.Images.Remove(ctx, img.ID.String(), image.RemoveOptions{Force: true, Orphan: true})
	}
	if err != nil && !errors.Is(err, image.ErrNotFound) {
		return nil, fault(err)
	}
	return &runtimeapi.RemoveImageResponse{}, nil
}

func (s *Server) imageFs() *runtimeapi.FilesystemIdentifier {
	return &runtimeapi.FilesystemIdentifier{Mountpoint: filepath.Join(s.e.Config().DataDir, "layers")}
}

// ImageFsInfo tells what images take. Containers' layers lie on the same file system.
func (s *Server) ImageFsInfo(_ context.Context, _ *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	var bytes, inodes int64
	for _, l := range s.e.Layers.Layers() {
		bytes, inodes = bytes+l.Disk, inodes+l.Inodes
	}
	fs := &runtimeapi.FilesystemUsage{Timestamp: time.Now().UnixNano(), FsId: s.imageFs(), UsedBytes: value(uint64(bytes)), InodesUsed: value(uint64(inodes))}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{fs}, ContainerFilesystems: []*runtimeapi.FilesystemUsage{fs}}, nil
}
