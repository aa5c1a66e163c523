// Package volume makes a pod's volumes appear as directories on the node and takes them away again: emptyDir, hostPath,
// configMap, secret, downwardAPI, projected and the claims that are plain directories. Contents that come from the API are
// replaced as a whole through one symlink, so that a reader sees the old or the new version and nothing between.
//
// Layout below the root that it is given:
//
//	ROOT/pods/UID/volumes/kubernetes.io~KIND/NAME     the volume
//	ROOT/pods/UID/volume-subpaths/NAME/CONTAINER/N    a bind mount of one subPath
//	ROOT/secrets/UID/NAME                             on a tmpfs of the agent's own: what must not reach a disk
//
// It knows no runtime: images as volumes are the runtime's work. Only nodeagent imports it.
package volume
