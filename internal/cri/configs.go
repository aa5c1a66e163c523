package cri

import (
	"sync"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
)

// configs decodes each record's Extra once. What it returns is shared and read-only.
type configs struct{ m sync.Map } // ID → *runtimeapi.PodSandboxConfig or *runtimeapi.ContainerConfig

func (c *configs) sandbox(r *sandbox.Record) *runtimeapi.PodSandboxConfig {
	if v, ok := c.m.Load(r.ID); ok {
		return v.(*runtimeapi.PodSandboxConfig)
	}
	p := &runtimeapi.PodSandboxConfig{}
	if proto.Unmarshal(r.Config.Extra, p) != nil || p.Metadata == nil {
		p = &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: r.Config.Name}, Labels: r.Config.Labels, Annotations: r.Config.Annotations}
	}
	c.m.Store(r.ID, p)
	return p
}

func (c *configs) container(r *container.Record) *runtimeapi.ContainerConfig {
	if v, ok := c.m.Load(r.ID); ok {
		return v.(*runtimeapi.ContainerConfig)
	}
	p := &runtimeapi.ContainerConfig{}
	if proto.Unmarshal(r.Config.Extra, p) != nil || p.Metadata == nil {
		p = &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: r.Config.Name}, Labels: r.Config.Labels, Annotations: r.Config.Annotations}
	}
	c.m.Store(r.ID, p)
	return p
}

// forget drops what is kept of a removed sandbox or container.
func (s *Server) forget(id string) {
	s.configs.m.Delete(id)
	s.samples.m.Delete(id)
}
