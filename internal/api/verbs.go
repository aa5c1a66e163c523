package api

// The verb sets of discovery, in its order. They are shared and must not be changed.
var (
	AllVerbs    = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	StatusVerbs = []string{"get", "patch", "update"}
	CreateOnly  = []string{"create"}
	StreamVerbs = []string{"create", "get"}
	ProxyVerbs  = []string{"create", "delete", "get", "patch", "update"}
)
