# The engine's step of run.sh, which sources it: containers, pulls, builds and
# memory beside containerd, docker.io and podman, all in one run. It uses
# run.sh's names (root, peers, kbench, out, dir, inside, pids).
#
#   ENGINE_STEPS  from "raw start pull build mem"
#   N             runs of each start (20); NBUILD, NPULL of the slow ones (3)
#
# Pulls are of an image half of random bytes; realimage.sh makes one of real files.
engine_steps=${ENGINE_STEPS:-"raw start pull build mem"}
engine() { case " $engine_steps " in *" $1 "*) return 0 ;; esac; return 1; }
docker=(docker -H "unix://$dir/run/docker.sock")
peerdocker="docker -H unix:///tmp/enginebench/docker.sock" # enginebench.sh's
peerpodman="podman --root /tmp/enginebench/pm --runroot /tmp/enginebench/pmrun --cgroup-manager cgroupfs --events-backend file"
small=127.0.0.1:5000/busybox:1
big=127.0.0.1:5000/big:1

load() { echo "load of the last minutes before $1: $(cut -d' ' -f1-3 /proc/loadavg)"; }
api() { # LABEL N AT-ONCE
  inside "$kbench" docker --label "$1" --sock "$dir/run/docker.sock" --image $small --n "$2" --par "$3" --pids "$(pids)" >>"$out/engine.jsonl"
}

# A build of twenty steps: ten that run and ten that copy.
recipe() { # DIR
  mkdir -p "$1"
  echo "FROM $small" >"$1/Dockerfile"
  for i in $(seq 10); do
    echo "step $i" >"$1/file$i"
    printf 'RUN echo %s >/made%s\nCOPY file%s /\n' "$i" "$i" "$i" >>"$1/Dockerfile"
  done
}

# What one more idle container adds to the engine's processes.
idle() {
  inside "$kbench" mem --label nau-idle --window "${WINDOW:-30s}" --pids "$(pids)" >>"$out/engine.jsonl"
  for _ in $(seq 30); do inside "${docker[@]}" run -d $small sleep 600 >/dev/null; done
  sleep 5
  inside "$kbench" mem --label nau-30-containers --window 0 --pids "$(pids)" >>"$out/engine.jsonl"
  inside "${docker[@]}" ps -aq | xargs nsenter --net=/run/netns/"$ns" "${docker[@]}" rm -f >/dev/null
  python3 - "$out/engine.jsonl" <<'P'
import json, sys
mem = {o["label"]: o for o in map(json.loads, open(sys.argv[1])) if o["bench"] == "mem" and o["label"].startswith("nau")}
one, many = mem["nau-idle"], mem["nau-30-containers"]
before, after = one.get("mem_after", one["mem"])["total"], many["mem"]["total"]
print(f"memory of an idle container: {(after['pss_mib'] - before['pss_mib']) / 30:.2f} MiB, processes of the engine: {before['procs']} before, {after['procs']} after 30 containers")
P
}

# What engines keep until a reboot lies in memory, as in /run of an installed
# system, for all of them; enginebench.sh unmounts its own.
volatile() {
  for d in "$@"; do
    mkdir -p "$d"
    mountpoint -q "$d" || mount -t tmpfs tmpfs "$d"
  done
}
peers_run=(/tmp/enginebench/{cs,de,pmrun})

if [ ! -d "$dir/run" ]; then
  volatile "$dir/run"
  up
fi
inside "${docker[@]}" pull -q $small >/dev/null
load "the engines"
if engine raw; then
  (cd "$root" && go build -o "$dir/ocibench" ./test/bench/oci)
  runtimes=("$root/bin/nau-oci")
  for r in crun runc; do ! command -v $r >/dev/null || runtimes+=("$r"); done
  "$dir/ocibench" -n "${NRAW:-40}" "${runtimes[@]}"
fi
if engine start; then
  volatile "${peers_run[@]}"
  N=${N:-20} "$peers/enginebench.sh" "$out/engine.jsonl" --steps "${ENGINE_PEERS:-ctr docker podman}" \
    --add "nau-docker-run=${docker[*]} run --rm $small true" --add "docker-cli-alone=${docker[*]} version" \
    --add-sock "nau=$dir/run/docker.sock" >/dev/null 2>"$out/engine.log" || echo "the engines' side ended early: see $out/engine.log" >&2
  api api-nau-par8 "${NPAR8:-160}" 8
  api api-nau-par32 "${NPAR32:-256}" 32
  load "the slow part"
fi
if engine pull || engine build || engine mem; then
  recipe "$dir/recipe"
  slow=()
  if engine build; then
    legacy="env DOCKER_BUILDKIT=0"
    for side in "nau=$legacy ${docker[*]} build" "docker=$legacy $peerdocker build" "podman=$peerpodman build --layers --runtime $(command -v runc || true)"; do
      slow+=(--add "build-cold-${side%%=*}=${side#*=} --no-cache -q $dir/recipe" --add "build-cached-${side%%=*}=${side#*=} -q $dir/recipe")
    done
  fi
  if engine pull; then slow+=(--add-pull "nau=${docker[*]} pull -q $big >/dev/null;;${docker[*]} rmi $big"); fi
  volatile "${peers_run[@]}"
  N=${NBUILD:-3} WARM=1 NPULL=${NPULL:-3} "$peers/enginebench.sh" "$out/engine.jsonl" \
    --steps "$(engine pull && echo pull || echo mem) $(engine mem && echo mem || true)" "${slow[@]}" >/dev/null 2>>"$out/engine.log" ||
    echo "the engines' side ended early: see $out/engine.log" >&2
  if engine mem; then idle; fi
fi
load "the end"
[ ! -s "$out/engine.jsonl" ] || python3 "$peers/summarize.py" "$out/engine.jsonl"
