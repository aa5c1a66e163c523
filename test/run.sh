#!/usr/bin/env bash
# Runs the tests: `run.sh unit` without root and network; `run.sh e2e` as root
# with the stock clients; `run.sh all` both. It installs what is missing from
# Debian's packages.
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
  needs kubectl kubernetes-client
  needs docker docker-cli
  needs curl curl
  if [ ${#missing[@]} -gt 0 ]; then fetch; fi
  local minor
  minor=$(kubectl version --client -o json | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -1)
  if [ "${minor:-0}" -lt 24 ]; then
    echo "kubectl 1.$minor is too old for the end-to-end tests: install 1.24 or later" >&2
    exit 1
  fi
}

fetch() { # the missing packages
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install these first: ${missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  for package in "${missing[@]}"; do
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
      { [ "$package" = docker-cli ] && echo "no package docker-cli: tests that need it say so" >&2; }
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
  go test -tags e2e -count=1 -timeout 15m -parallel 2 ${RUN:+-run "$RUN"} ./test/e2e/...
}

case $what in
  unit) alone; unit ;;
  e2e) install; alone; e2e ;;
  all) install; alone; unit; e2e ;;
  *) echo "run.sh unit|e2e|all" >&2; exit 2 ;;
esac
