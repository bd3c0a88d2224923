#!/usr/bin/env bash
# do_save.sh [FILE]: save the image for upload, compressed, and print its size.
source "$(dirname "$0")/common.sh"
file=${1:-fmc-uia.tar.gz}
"$ENGINE" save "$IMAGE" | gzip -c > "$file"
ls -l "$file"
