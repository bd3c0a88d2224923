#!/usr/bin/env bash
# do_test_run.sh INPUT OUTPUT [inference.py options]: run the image as strangers would: no network, read-only disk,
# little shared memory, few processes, 4 GB. RUN_USER sets another user, RUN_OPTIONS adds options of the engine's run.
# INPUT_JSON=FILE mounts that list at /input_json, as UUSIC's organisers do.
source "$(dirname "$0")/common.sh"
if [ $# -lt 2 ]; then
  echo "usage: $0 INPUT OUTPUT [inference.py options]" >&2
  exit 2
fi
input=$(realpath "$1")
mkdir -p "$2"
output=$(realpath "$2")
shift 2
list=()
if [ -n "${INPUT_JSON:-}" ]; then list=(--volume "$(realpath "$INPUT_JSON"):/input_json:ro"); fi
gpus=()
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then gpus=(--gpus all); fi
read -ra options <<< "${RUN_OPTIONS:-}"
# The caller's uid by default, so that what is written belongs to the caller.
exec "$ENGINE" run --rm --platform "$PLATFORM" "${gpus[@]}" --user "${RUN_USER:-$(id -u):$(id -g)}" \
  --network none --read-only --tmpfs /tmp:rw,size=64m --shm-size 64m --pids-limit 128 --memory 4g \
  --cap-drop ALL --security-opt no-new-privileges \
  --volume "$input:/input/:ro" --volume "$output:/output" "${list[@]}" "${options[@]}" "$IMAGE" "$@"
