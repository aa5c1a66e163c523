package cri

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The runtime's name, and the version of the interface.
const (
	runtimeName = "nau"
	apiVersion  = "v1"
)

// Version tells who answers.
func (s *Server) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: runtimeName, RuntimeVersion: s.cfg.Version, RuntimeApiVersion: apiVersion}, nil
}

// Status tells whether containers and networks work, and what the runtime handlers can.
func (s *Server) Status(ctx context.Context, req *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	running := &runtimeapi.RuntimeCondition{Type: runtimeapi.RuntimeReady, Status: true}
	if err := s.e.MonitorReady(ctx); err != nil {
		running.Status, running.Reason, running.Message = false, "MonitorNotReady", err.Error()
	}
	network := &runtimeapi.RuntimeCondition{Type: runtimeapi.NetworkReady, Status: s.e.NetworkReady()}
	if !network.Status {
		network.Reason, network.Message = "NetworkPluginNotReady", "the engine was opened without a network"
	}
	resp := &runtimeapi.StatusResponse{
		Status:   &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{running, network}},
		Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}
	names := []string{""}
	for name := range s.e.Config().Runtimes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		// What another runtime can is not known: claim it for our own only.
		resp.RuntimeHandlers = append(resp.RuntimeHandlers, &runtimeapi.RuntimeHandler{Name: name,
			Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: name == "" && s.e.Host().RecursiveRO,
				UserNamespaces: name == "" && s.e.Layers.CanMapOwners() == nil}})
	}
	if req.GetVerbose() {
		c := s.e.Config()
		b, err := json.Marshal(map[string]any{"dataDir": c.DataDir, "runDir": c.RunDir, "cgroupParent": c.CgroupParent, "bridge": c.Bridge, "podCIDRs": c.PodCIDRs, "runtimes": c.Runtimes})
		if err != nil {
			return nil, internalError(err)
		}
		resp.Info = map[string]string{"config": string(b)}
	}
	return resp, nil
}

// RuntimeConfig tells that cgroups are named by paths.
func (s *Server) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig takes the node's range of pod addresses, one or two CIDRs with a comma.
func (s *Server) UpdateRuntimeConfig(_ context.Context, req *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	var cidrs []netip.Prefix
	for _, text := range strings.Split(req.GetRuntimeConfig().GetNetworkConfig().GetPodCidr(), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, invalid("set pod CIDR: %v", err)
		}
		cidrs = append(cidrs, p.Masked())
	}
	if err := s.e.SetPodCIDRs(cidrs); err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}
