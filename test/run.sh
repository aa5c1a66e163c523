#!/usr/bin/env bash
# Runs the tests: `run.sh unit` without root and network; `run.sh e2e` as root
# with the stock clients; `run.sh all` both. It installs what is missing from
# Debian's packages, builds a kubectl or docker that is missing or too old, and
# the other clients (buildx, Compose, crictl, Testcontainers) where it reaches
# their modules. What was skipped, and why, stands at the end.
#   PEERS=1  installs Debian's other engines and clients too (Podman, containerd,
#            skopeo, …), without starting their services: .ci/run does so
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
# -trimpath as in `make build`: what is compiled once serves every checkout.
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
unset KUBECONFIG DOCKER_HOST || true

needs() { # PROGRAM PACKAGE: install PACKAGE where PROGRAM is missing
  command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

install() {
  missing=()
  needs busybox busybox-static
  needs curl curl
  needs ip iproute2
  needs nft nftables
  needs ps procps
  if [ -n "${PEERS:-}" ]; then
    needs podman podman
    needs skopeo skopeo
    needs docker-compose docker-compose
    needs containerd containerd
    needs runc runc
    needs crun crun
    [ -d /usr/lib/cni ] || missing+=(containernetworking-plugins)
  fi
  if [ ${#missing[@]} -gt 0 ]; then fetch; fi
  clients
  stock
}

fetch() { # the missing packages
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install these first: ${missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  local quiet=/usr/sbin/policy-rc.d # what is installed for tests starts no service
  if [ ! -e $quiet ]; then
    printf '#!/bin/sh\nexit 101\n' >$quiet
    chmod +x $quiet
    trap "rm -f $quiet" EXIT
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  if [ -n "$(trap -p EXIT)" ]; then rm -f $quiet; trap - EXIT; fi
}

# The stock clients: those of this machine where they are new enough, else built
# from their published modules, once, and put first on the PATH.
clients() {
  local build=() version dir
  version=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -1) || true
  # Before that, what `kubectl exec` gets at once may come before its streams are there.
  [ "${version:-0}" -ge 36 ] || build+=(kubectl)
  version=$(docker --version 2>/dev/null | sed -n 's/^Docker version \([0-9]*\).*/\1/p') || true
  [ "${version:-0}" -ge 28 ] || build+=(docker)
  [ ${#build[@]} -gt 0 ] || return 0
  while read -r dir; do PATH=$dir:$PATH; done < <(test/clients/build.sh "${build[@]}")
  export PATH
  kubectl version --client >/dev/null && docker --version >/dev/null
}

# The clients that only tests want. A machine that cannot reach their modules goes without: their tests skip and say so.
stock() {
  local name code
  for name in buildx compose crictl testcontainers oci-validation distribution-conformance; do
    code=0
    test/clients/build.sh "$name" >/dev/null || code=$?
    [ $code = 0 ] || [ $code = 4 ] || exit $code
  done
}

# What is needed from the network is there; from here on nothing leaves the machine.
alone() {
  go mod download
  unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY || true
}

unit() {
  go vet ./...
  go test ./...
}

e2e() {
  if [ "$(id -u)" != 0 ]; then
    echo "end-to-end tests make namespaces, mounts and rules: run them as root" >&2
    exit 1
  fi
  make build
  go vet -tags e2e ./test/e2e/...
  NAU_SKIPPED=$(mktemp)
  export NAU_SKIPPED
  trap 'skipped' EXIT
  go test -tags e2e -count=1 -timeout 15m -parallel 2 ${RUN:+-run "$RUN"} ./test/e2e/...
}

skipped() { # what this machine could not run
  if [ -s "$NAU_SKIPPED" ]; then
    echo "skipped:"
    sort -u "$NAU_SKIPPED" | sed 's/^/  /'
  fi
  rm -f "$NAU_SKIPPED"
}

case $what in
  unit) alone; unit ;;
  e2e) install; alone; e2e ;;
  all) install; alone; unit; e2e ;;
  *) echo "run.sh unit|e2e|all" >&2; exit 2 ;;
esac
