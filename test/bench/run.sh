#!/usr/bin/env bash
# Prints the promised numbers as tables, beside upstream's from the same run
# where the peers are at hand. PEERS=DIR is where they and kbench are; STEPS picks
# from "cold idle api sched svc pods deploy apionly engine" (engine.sh has the
# last one's own); UPSTREAM=0 leaves upstream out; R=N repeats; OUT=DIR keeps the raw lines.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
peers=${PEERS:-$root/../shared/peers}
out=$(realpath -m "${OUT:-$(mktemp -d /tmp/nau-bench-XXXX)}")
steps=${STEPS:-"cold idle api sched svc pods deploy engine"}
mkdir -p "$out"
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 2; }
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY KUBECONFIG || true

echo "# decisions of the scheduler, in memory"
(cd "$root" && go test ./internal/scheduler/ranking -run '^$' -bench . -benchtime 20000x | grep Benchmark)
echo "# service rules in the kernel: one endpoint goes or comes"
(cd "$root" && go test ./internal/proxy/nft -run '^$' -bench . -benchtime 300x | grep Benchmark)

[ -d "$peers/bench" ] || { echo "no peers and no kbench in $peers: set PEERS" >&2; exit 2; }
if [ ! -x "$peers/bench/kbench" ]; then # built in a copy: the peers' own folder is left as it is
  cp -r "$peers" "$out/peers" && chmod -R u+w "$out/peers"
  peers=$out/peers
  (cd "$peers/bench" && GOFLAGS='-buildvcs=false -mod=mod' go build -o kbench .)
fi
kbench=$peers/bench/kbench
images=${UPSTREAM_IMAGES:-/tmp/upstream-images}
[ -d "$images/reg" ] || python3 "$peers/images/mkimages.py" "$images" --big >/dev/null

ns=naubench$$
dir=$(mktemp -d /tmp/nau-bench-run-XXXX)
inside() { nsenter --net=/run/netns/$ns "$@"; }
want() { case " $steps " in *" $1 "*) return 0 ;; esac; return 1; }
up() { inside "$root/bin/nau" up -d --data-dir "$dir/data" --run-dir "$dir/run" --node-name bench --registry-port 0 >"$dir/up.txt" || { cat "$dir/up.txt" "$dir/data/nau.log" >&2; return 1; }; }
down() { inside "$root/bin/nau" down --purge --data-dir "$dir/data" --run-dir "$dir/run" >/dev/null; }
pids() { echo "nau=$(cat "$dir/run/nau.pid"),monitor=~^[^ ]*nau-oci monitor .*$dir/"; }
kb() {
  echo "--- $*" >&2
  # shellcheck disable=SC2086
  inside timeout 900 "$kbench" "$1" --kubeconfig "$dir/data/kubeconfig" --pids "$(pids)" "${@:2}" >"$dir/one.json" || true
  tee -a "$out/nau.jsonl" <"$dir/one.json" | cut -c1-300 >&2
}
cleanup() {
  [ ! -d "$dir/run" ] || down || true
  [ -z "${registry:-}" ] || kill "$registry" 2>/dev/null || true
  ip netns del $ns 2>/dev/null || true
  umount "$dir/run" 2>/dev/null || true # engine.sh's
  rm -rf "$dir"
}
trap cleanup EXIT
ip netns add $ns
ip -n $ns link set lo up
ip -n $ns link add uplink type bridge
ip -n $ns addr add 192.0.2.10/24 dev uplink
ip -n $ns link set uplink up

nsenter --net=/run/netns/$ns "$kbench" registry --dir "$images/reg" --addr 127.0.0.1:5000 >"$dir/registry.log" 2>&1 &
registry=$!

if want cold; then
  for _ in $(seq "${RCOLD:-5}"); do
    t0=$(date +%s%N)
    nsenter --net=/run/netns/$ns "$root/bin/nau" up --data-dir "$dir/data" --run-dir "$dir/run" --node-name bench --registry-port 0 >"$dir/up.txt" 2>"$dir/up.log" &
    until [ -s "$dir/data/kubeconfig" ]; do sleep 0.005; done
    kb coldstart --t0 "$t0" --image 127.0.0.1:5000/busybox:1
    down
    wait $! || true
  done
fi
for step in idle api sched svc pods deploy; do
  if want $step; then up; break; fi
done
if want pods || want deploy; then # the image is on the node
  inside "$kbench" pod-latency --kubeconfig "$dir/data/kubeconfig" --n 1 >/dev/null 2>&1 || true
fi
if want idle; then kb mem --window "${WINDOW:-60s}" --label idle-no-pods; fi
if want api; then
  kb api-write --n 300 -c 1 --label full-c1
  for _ in $(seq "${R:-3}"); do kb api-write --n 1000 --label full-c16; done
  kb api-list --n 5000 --rounds 10 --label full
  for _ in $(seq "${R:-3}"); do kb api-watch --n 1000 --watchers 100 --label full; done
  kb api-watch --n 1000 --watchers 100 --rate 50 --label full-50/s
fi
if want sched; then for _ in $(seq "${R:-3}"); do kb sched --nodes 100 --n 1000 --label full; done; fi
if want svc; then kb svc-latency --n 20; fi
if want pods; then
  kb pod-latency --n 20
  kb pod-latency --n 10 --hostnetwork
  for _ in $(seq "${R:-3}"); do kb pod-burst --n 30; done
fi
if want deploy; then for _ in $(seq "${R:-3}"); do kb deploy-scale --n 30; done; fi
if want idle; then sleep 20; kb mem --window "${WINDOW:-60s}" --label idle-after-load; fi

if want engine; then
  # shellcheck source=test/bench/engine.sh
  . "$here/engine.sh"
fi

vs=()
if [ "${UPSTREAM:-1}" = 0 ]; then
  echo "upstream is left out: one side only" >&2
elif [ -x /tmp/peer/out/kube-apiserver ]; then
  # shellcheck disable=SC2086
  "$peers/bench-all.sh" "$out/upstream.jsonl" ${steps/engine/} >/dev/null 2>"$out/upstream.log" || echo "upstream's side ended early: see $out/upstream.log" >&2
  vs=(--vs "$out/upstream.jsonl")
else
  echo "upstream's binaries are not at hand (peers/build-peers.sh makes them): one side only" >&2
fi
[ ! -s "$out/nau.jsonl" ] || python3 "$peers/summarize.py" "$out/nau.jsonl" "${vs[@]}"
