#!/usr/bin/env bash
# Runs the tests: `run.sh unit` without root and network; `run.sh e2e` as root
# with the stock clients; `run.sh all` both. It installs what is missing from
# Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
# -trimpath as in `make build`: what is compiled once serves every checkout.
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY KUBECONFIG DOCKER_HOST || true

needs() { # PROGRAM PACKAGE: install PACKAGE where PROGRAM is missing
  command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

install() {
  missing=()
  needs busybox busybox-static
  needs kubectl kubernetes-client
  needs docker docker-cli
  needs curl curl
  [ ${#missing[@]} -eq 0 ] && return
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
  unit) unit ;;
  e2e) install; e2e ;;
  all) install; unit; e2e ;;
  *) echo "run.sh unit|e2e|all" >&2; exit 2 ;;
esac
