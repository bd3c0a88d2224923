#!/usr/bin/env bash
# Build the image. BASE sets another base image; further arguments go to the engine's build command.
source "$(dirname "$0")/common.sh"
"$ENGINE" build --platform "$PLATFORM" --tag "$IMAGE" \
  --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/pyproject.toml")" \
  --build-arg REVISION="$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)" \
  ${BASE:+--build-arg BASE="$BASE"} "$@" "$ROOT"
"$ENGINE" image inspect --format 'image {{.Id}}: {{.Size}} bytes' "$IMAGE"
