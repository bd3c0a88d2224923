#!/usr/bin/env bash
# Build the image and print its size. VARIANT=cpu|cuda, BASE and BASE_DIGEST choose the variant and another base image,
# RUN_AS=10001:10001 the user that the container starts as (root without it, see docs/how-to/container.md),
# WEIGHTS=weights-NAME the folder of weights, POSTPROCESS=none|masks|look|flip|views another level than they recommend;
# further arguments go to the engine's build command.
source "$(dirname "$0")/common.sh"
weights=${WEIGHTS:-weights}
if [[ "$weights" != weights* || "$weights" == */* || ! -f "$ROOT/$weights/weights.json" ]]; then
  echo "WEIGHTS is '$weights'; export the weights to $ROOT/weights-NAME and set WEIGHTS to weights-NAME" >&2
  exit 2
fi
"$ENGINE" build --platform "$PLATFORM" --tag "$IMAGE" --build-arg VARIANT="${VARIANT:-cuda}" \
  --build-arg WEIGHTS="$weights" --build-arg POSTPROCESS="${POSTPROCESS:-auto}" \
  --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/pyproject.toml")" \
  --build-arg REVISION="$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)" \
  ${BASE:+--build-arg BASE="$BASE"} ${BASE_DIGEST:+--build-arg BASE_DIGEST="$BASE_DIGEST"} \
  ${RUN_AS:+--build-arg RUN_AS="$RUN_AS"} "$@" "$ROOT"
"$ENGINE" image inspect --format 'image {{.Id}}: {{.Size}} bytes' "$IMAGE"
