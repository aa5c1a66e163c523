#!/usr/bin/env bash
# Runs the tests: `run.sh unit` without root and network; `run.sh e2e` as root
# with the stock clients; `run.sh all` both. It installs what is missing from
# Debian's packages, and builds a kubectl or docker that is missing or too old.
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
  if [ ${#missing[@]} -gt 0 ]; then fetch; fi
  clients
}

fetch() { # the missing packages
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install these first: ${missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The stock clients: those of this machine where they are new enough, else built
# from their published modules, once, and put first on the PATH.
clients() {
  local build=() version dir
  version=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -1) || true
  [ "${version:-0}" -ge 32 ] || build+=(kubectl)
  version=$(docker --version 2>/dev/null | sed -n 's/^Docker version \([0-9]*\).*/\1/p') || true
  [ "${version:-0}" -ge 28 ] || build+=(docker)
  [ ${#build[@]} -gt 0 ] || return 0
  while read -r dir; do PATH=$dir:$PATH; done < <(test/clients/build.sh "${build[@]}")
  export PATH
  kubectl version --client >/dev/null && docker --version >/dev/null
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
