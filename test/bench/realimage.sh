#!/usr/bin/env bash
# realimage.sh OUT: the benchmark's images with another `big`, made of Debian's own
# files (minbase, python3, perl, git; three layers, gzip -6, some 12,000 files),
# since half of the usual one is random and compresses like no image does. Then:
#   UPSTREAM_IMAGES=OUT STEPS=engine ENGINE_STEPS=pull make bench
#
#   ROOT=DIR          a Debian root that is there already; else debootstrap makes one
#   UPSTREAM_IMAGES   the usual images (/tmp/upstream-images)
#   COMPRESS          "gzip -6"; "zstd -3" makes layers of zstd
set -euo pipefail
out=$(realpath -m "${1:?folder for the images}")
usual=${UPSTREAM_IMAGES:-/tmp/upstream-images}
compress=${COMPRESS:-gzip -6}
[ -d "$usual/reg" ] || { echo "no images in $usual: a first run of run.sh makes them" >&2; exit 2; }
[ ! -e "$out" ] || { echo "$out is there already" >&2; exit 2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/realimage-XXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=${ROOT:-$work/root}
if [ -z "${ROOT:-}" ]; then
  debootstrap --variant=minbase --include=python3,perl,git bookworm "$root" >"$work/log" || { tail -5 "$work/log" >&2; exit 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
fi
cp -r "$usual" "$out"
rm -rf "$out/reg/big"
mkdir -p "$out/reg/big/blobs/sha256"

# Prints the digest and size of what is put among the blobs.
put() { # FILE
  local sum
  sum=$(sha256sum <"$1" | cut -d' ' -f1)
  printf '"digest":"sha256:%s","size":%d' "$sum" "$(stat -c %s "$1")"
  mv "$1" "$out/reg/big/blobs/sha256/$sum"
}
layers='' diffs=''
layer() { # TAR'S ARGUMENTS
  tar -C "$root" --numeric-owner --sort=name -cf "$work/layer" "$@"
  diffs+=${diffs:+,}\"sha256:$(sha256sum <"$work/layer" | cut -d' ' -f1)\"
  $compress <"$work/layer" >"$work/packed"
  layers+=${layers:+,}'{"mediaType":"application/vnd.oci.image.layer.v1.tar+'${compress%% *}'",'$(put "$work/packed")'}'
}
layer --exclude=./usr/share --exclude='./usr/lib/python3*' --exclude=./usr/lib/git-core .
layer usr/share
(cd "$root" && printf '%s\n' usr/lib/python3* usr/lib/git-core) >"$work/last"
layer -T "$work/last"

echo '{"architecture":"amd64","os":"linux","config":{"Cmd":["bash"]},"rootfs":{"type":"layers","diff_ids":['"$diffs"']}}' >"$work/config"
type=application/vnd.oci.image.manifest.v1+json
echo '{"schemaVersion":2,"mediaType":"'$type'","config":{"mediaType":"application/vnd.oci.image.config.v1+json",'"$(put "$work/config")"'},"layers":['"$layers"']}' >"$work/manifest"
echo '{"schemaVersion":2,"manifests":[{"mediaType":"'$type'",'"$(put "$work/manifest")"'}]}' >"$out/reg/big/index.json"
du -sh "$out/reg/big"
