#!/usr/bin/env bash
# do_test_run.sh INPUT OUTPUT [inference.py options]: run the image twice: first exactly as the organisers do, into
# OUTPUT, then into OUTPUT-strict as a strict host would: no network, read-only disk, no capabilities, the caller's uid,
# little shared memory, few processes, 4 GB. RUNS=organisers or RUNS=strict does one of them, into OUTPUT.
# RUN_USER sets another user for the strict run, RUN_OPTIONS adds options of the engine's run to both.
# INPUT_JSON=FILE mounts that list at /input_json, as UUSIC's organisers do.
source "$(dirname "$0")/common.sh"
if [ $# -lt 2 ]; then
  echo "usage: $0 INPUT OUTPUT [inference.py options]" >&2
  exit 2
fi
# docker would make an empty folder, as root, in the place of what is not there.
if [ ! -d "$1" ]; then
  echo "there is no folder $1; give the data folder" >&2
  exit 2
fi
if [ -n "${INPUT_JSON:-}" ] && [ ! -f "$INPUT_JSON" ]; then
  echo "there is no file $INPUT_JSON; set INPUT_JSON to UUSIC's list" >&2
  exit 2
fi
input=$(realpath "$1")
mkdir -p "$2"
output=$(realpath "$2")
shift 2
gpus=()
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then gpus=(--gpus all); fi
list=()
if [ -n "${INPUT_JSON:-}" ]; then list=(--volume "$(realpath "$INPUT_JSON"):/input_json:ro"); fi
read -ra options <<< "${RUN_OPTIONS:-}"

# ${array[@]+...}: the bash of macOS calls an empty array unset.
organisers() {
  "$ENGINE" run ${gpus[@]+"${gpus[@]}"} --rm --platform "$PLATFORM" -v "$input:/input/:ro" -v "$1:/output" \
    ${list[@]+"${list[@]}"} ${options[@]+"${options[@]}"} "$IMAGE" "${@:2}"
}

strict() {
  # The caller's uid by default, so that what is written belongs to the caller.
  "$ENGINE" run ${gpus[@]+"${gpus[@]}"} --rm --platform "$PLATFORM" -v "$input:/input/:ro" -v "$1:/output" \
    --user "${RUN_USER:-$(id -u):$(id -g)}" --network none --read-only --tmpfs /tmp:rw,size=64m --shm-size 64m \
    --pids-limit 128 --memory 4g --cap-drop ALL --security-opt no-new-privileges \
    ${list[@]+"${list[@]}"} ${options[@]+"${options[@]}"} "$IMAGE" "${@:2}"
}

case "${RUNS:-both}" in
  organisers) organisers "$output" "$@" ;;
  strict) strict "$output" "$@" ;;
  both)
    organisers "$output" "$@"
    mkdir -p "$output-strict"
    strict "$output-strict" "$@"
    ;;
  *)
    echo "RUNS is '$RUNS'; set it to organisers, strict or both" >&2
    exit 2
    ;;
esac
