# Shared by the do_*.sh scripts. ENGINE, IMAGE and PLATFORM can be set from outside.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
IMAGE=${IMAGE:-fmc-uia:latest}
PLATFORM=${PLATFORM:-linux/amd64}
if [ -z "${ENGINE:-}" ]; then
  # A client without its daemon is no engine.
  for candidate in docker podman; do
    if "$candidate" info >/dev/null 2>&1; then ENGINE=$candidate && break; fi
  done
fi
if [ -z "${ENGINE:-}" ]; then
  echo "neither docker nor podman works here; start or install one, or set ENGINE" >&2
  exit 2
fi
