#!/usr/bin/env bash
# Builds stock clients from their published modules, for machines where the
# distribution's are missing or too old, and prints the folder of each.
#   build.sh NAME…       kubectl, docker, …: a folder here with a go.mod
#   build.sh --all       all of them: what `make clients` does
#   build.sh --cached NAME…  the folders of those that are built already; builds nothing
#   CLIENTS_CACHE=DIR    where to keep them (default ~/.cache/nau-test/clients)
# Exit code 3: not built (--cached); 4: a module cannot be fetched.
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
    compose)
      v=$(version github.com/docker/compose/v2)
      package=github.com/docker/compose/v2/cmd
      flags+=" -X github.com/docker/compose/v2/internal.Version=$v"
      ;;
    buildx)
      v=$(version github.com/docker/buildx)
      package=github.com/docker/buildx/cmd/buildx
      flags+=" -X github.com/docker/buildx/version.Version=$v"
      ;;
    crictl)
      v=$(version sigs.k8s.io/cri-tools)
      package=sigs.k8s.io/cri-tools/cmd/crictl
      flags+=" -X sigs.k8s.io/cri-tools/pkg/version.Version=$v"
      ;;
    testcontainers) # its own tests, as a program, with the files that they read
      test=github.com/testcontainers/testcontainers-go
      files=testdata
      ;;
    oci-validation) # one program a subject, in a folder, with the root file system that they run in
      package=tool
      out=programs/
      test=
      files=rootfs-amd64.tar.gz
      from=github.com/opencontainers/runtime-tools
      ;;
    moby) # one program a subject, and the files that its tests read
      from=github.com/moby/moby/v2
      for p in build capabilities container image network plugin/common session system volume; do
        test+=" $from/integration/$p"
      done
      out=programs/
      files=integration
      ;;
    distribution-conformance)
      package=github.com/opencontainers/distribution-spec/conformance
      ;;
    *) echo "build.sh: no recipe for client $1" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cached=
case $1 in
  --all) cd "$here"; set -- */; set -- "${@%/}" ;;
  --cached) cached=1; shift ;;
esac
for name in "$@"; do
  cd "$here/$name" 2>/dev/null || { echo "build.sh: no client $name in $here" >&2; exit 2; }
  sum=$(cat "$here/build.sh" ./* | sha256sum | cut -c1-12)
  dir=$cache/$name-$sum
  if [ ! -d "$dir" ]; then
    [ -z "$cached" ] || { echo "build.sh: $name is not built: \`make clients\` builds it" >&2; exit 3; }
    echo "building $name from its module, once …" >&2
    package= flags="-s -w" out=$name test= files= from=
    recipe "$name"
    go list -deps ${test:+-test} ${test:-"$package"} >/dev/null || { echo "build.sh: fetch the modules of $name: see above; is a module proxy reachable?" >&2; exit 4; }
    rm -rf "$dir.new"
    mkdir -p "$dir.new"
    case $out in */) mkdir -p "$dir.new/$out" ;; esac
    if [ -n "$test" ]; then
      go test -c -ldflags "$flags" -o "$dir.new/$out" $test
    else
      go build -ldflags "$flags" -o "$dir.new/$out" "$package"
    fi
    for file in $files; do
      cp -r "$(go list -m -f '{{.Dir}}' "${from:-$test}")/$file" "$dir.new/" && chmod -R u+w "$dir.new/$file"
    done
    mv "$dir.new" "$dir"
  fi
  echo "$dir"
done
