package nodeagent

import runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

type (
	runtimeConfig = runtimeapi.ContainerConfig
	runtimeImage  = runtimeapi.Image
)
