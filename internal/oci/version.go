package oci

import specs "github.com/opencontainers/runtime-spec/specs-go"

// Version of this runtime.
const Version = "1.0.0"

// SpecVersion is the version of the runtime specification it follows.
var SpecVersion = specs.Version
