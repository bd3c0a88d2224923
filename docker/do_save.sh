#!/usr/bin/env bash
# do_save.sh [FILE.tar.gz]: save the image for upload, its bill of materials (CycloneDX) beside it, and print the sizes.
# COMPRESS sets another command than gzip, such as "pigz" or "gzip -1". An earlier FILE stays until the new one is whole.
source "$(dirname "$0")/common.sh"
file=${1:-fmc-uia.tar.gz}
sbom=${file%.tar.gz}.cdx.json
trap 'rm -f -- "$file.partial" "$sbom.partial"' EXIT
"$ENGINE" save "$IMAGE" | ${COMPRESS:-gzip} -c > "$file.partial"
"$ENGINE" run --rm --platform "$PLATFORM" --network none --entrypoint cat "$IMAGE" /opt/app/sbom.cdx.json > "$sbom.partial"
mv -- "$sbom.partial" "$sbom"
mv -- "$file.partial" "$file"
ls -l -- "$file" "$sbom"
