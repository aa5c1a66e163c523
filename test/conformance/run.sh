#!/usr/bin/env bash
# Runs the upstream Kubernetes conformance suite against a cluster in a network
# namespace of its own. FOCUS=REGEXP picks tests by name; NAMES=FILE runs those in
# a file; OUT=DIR gets the results; PROCS=N tests at once; SUITE=DIR is where the
# suite's build.sh, images.sh and run.sh are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
suite=${SUITE:-$root/../shared/conformance}
out=${OUT:-$root/conformance-$(date +%m%d-%H%M)}
[ -x "$suite/run.sh" ] || { echo "no conformance suite in $suite: set SUITE" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 2; }
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY KUBECONFIG || true

"$suite/build.sh" >/dev/null
[ -d "${CONF_OUT:-/var/tmp/conformance}/registry/docker" ] || { "$suite/images.sh"; "$suite/images.sh" stop; }

ns=nauconf$$
dir=$(mktemp -d /tmp/nau-conf-XXXX)
inside() { nsenter --net=/run/netns/$ns "$@"; }
# The suite's own registry serves the images, on a port of this namespace.
export CONF_OUT=${CONF_OUT:-/var/tmp/conformance}
cleanup() {
  [ -z "${registry:-}" ] || kill "$registry" 2>/dev/null || true
  inside "$root/bin/nau" down --purge --data-dir "$dir/data" --run-dir "$dir/run" || true
  ip netns del $ns
  rm -rf "$dir"
}
ip netns add $ns
trap cleanup EXIT
ip -n $ns link set lo up
ip -n $ns link add uplink type bridge
ip -n $ns addr add 192.0.2.10/24 dev uplink
ip -n $ns link set uplink up
cat >"$dir/registry.yml" <<Y
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $CONF_OUT/registry}, maintenance: {readonly: {enabled: true}}}
http: {addr: "127.0.0.1:5000"}
Y
OTEL_TRACES_EXPORTER=none nsenter --net=/run/netns/$ns docker-registry serve "$dir/registry.yml" >"$dir/registry.log" 2>&1 &
registry=$!

inside "$root/bin/nau" up -d --data-dir "$dir/data" --run-dir "$dir/run" --node-name conformance \
  --registry-mirror registry.k8s.io=http://127.0.0.1:5000 --registry-mirror docker.io=http://127.0.0.1:5000
args=(--out "$out" --procs "${PROCS:-3}")
[ -z "${FOCUS:-}" ] || args+=(--focus "$FOCUS")
[ -z "${SKIP:-}" ] || args+=(--skip "$SKIP")
[ -z "${NAMES:-}" ] || args+=(--names "$(realpath "$NAMES")")
status=0
inside "$suite/run.sh" "$dir/data/kubeconfig" "${args[@]}" || status=$?
cp "$dir/data/nau.log" "$out/nau.log"
exit $status
