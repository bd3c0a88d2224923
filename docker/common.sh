# Shared by the do_*.sh scripts. ENGINE, IMAGE and PLATFORM can be set from outside.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ENGINE=${ENGINE:-$(command -v docker || command -v podman || true)}
IMAGE=${IMAGE:-fmc-uia:latest}
PLATFORM=${PLATFORM:-linux/amd64}
if [ -z "$ENGINE" ]; then
  echo "neither docker nor podman was found; install one, or set ENGINE" >&2
  exit 2
fi
