#!/usr/bin/env bash
# Write docker/cpu.lock and docker/cuda.lock, with hashes, from docker/*.in and requirements-inference.txt. Needs uv.
set -euo pipefail
cd "$(dirname "$0")/.."
for variant in cpu cuda; do
  # The engines stand in docker/*.in. openvino-telemetry sends usage data, and OpenVINO runs without it.
  grep -Ev '^(onnxruntime|openvino)' requirements-inference.txt |
    uv pip compile --quiet --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
      --default-index https://pypi.org/simple --no-emit-package openvino-telemetry \
      --custom-compile-command docker/lock.sh --output-file "docker/$variant.lock" - "docker/$variant.in"
done
