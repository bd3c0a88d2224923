#!/usr/bin/env bash
# do_save.sh [FILE.tar.gz]: save the image for upload, its bill of materials (CycloneDX) beside it, and print the sizes.
# COMPRESS sets another command than gzip, such as "pigz" or "gzip -1".
source "$(dirname "$0")/common.sh"
file=${1:-fmc-uia.tar.gz}
sbom=${file%.tar.gz}.cdx.json
"$ENGINE" save "$IMAGE" | ${COMPRESS:-gzip} -c > "$file"
"$ENGINE" run --rm --platform "$PLATFORM" --network none --entrypoint cat "$IMAGE" /opt/app/sbom.cdx.json > "$sbom"
ls -l "$file" "$sbom"
