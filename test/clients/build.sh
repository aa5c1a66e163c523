#!/usr/bin/env bash
# Builds stock clients from their published modules, for machines where the
# distribution's are missing or too old, and prints the folder of each.
#   build.sh NAME…       kubectl, docker, …: a folder here with a go.mod
#   CLIENTS_CACHE=DIR    where to keep them (default ~/.cache/nau-test/clients)
# A folder's name ends in the sum of what the program is built from: what was
# built once is kept until that changes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${CLIENTS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/nau-test/clients}
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath -mod=readonly ${CLIENTS_GOFLAGS:-}"

version() { # MODULE: the version that the module in this folder asks for
  go list -m -f '{{.Version}}' "$1"
}

#   name)  package to build; linker flags
recipe() {
  local v
  case $1 in
    kubectl)
      v=$(version k8s.io/kubectl)
      package=.
      for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $p.gitVersion=v1${v#v0} -X $p.gitMajor=1 -X $p.gitMinor=$(cut -d. -f2 <<<"$v") -X $p.gitTreeState=clean"
      done
      ;;
    docker)
      v=$(version github.com/docker/cli)
      package=github.com/docker/cli/cmd/docker
      v=${v#v}
      flags+=" -X github.com/docker/cli/cli/version.Version=${v%+incompatible}"
      ;;
    *) echo "build.sh: no recipe for client $1" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for name in "$@"; do
  cd "$here/$name" 2>/dev/null || { echo "build.sh: no client $name in $here" >&2; exit 2; }
  sum=$(cat "$here/build.sh" ./* | sha256sum | cut -c1-12)
  dir=$cache/$name-$sum
  if [ ! -x "$dir/$name" ]; then
    echo "building $name from its module, once …" >&2
    package= flags="-s -w"
    recipe "$name"
    mkdir -p "$dir"
    go build -ldflags "$flags" -o "$dir/$name.new" "$package"
    mv "$dir/$name.new" "$dir/$name"
  fi
  echo "$dir"
done
