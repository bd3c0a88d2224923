# The submission: frozen graphs and onnxruntime, no torch. Built by docker/do_build.sh.
# BASE_DIGEST pins the base (sha256:...); RUN_AS sets the user; VARIANT is cuda (onnxruntime-gpu with CUDA 12 and cuDNN) or cpu (and OpenVINO).
# WEIGHTS is a folder here whose name begins with "weights"; POSTPROCESS is the level of post-processing, auto: what the weights recommend.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
ARG BASE_DIGEST=
FROM ${BASE}${BASE_DIGEST:+@${BASE_DIGEST}} AS build
ARG VARIANT=cuda
COPY docker/${VARIANT}.lock /tmp/requirements.lock
# --no-deps: the lock is complete, and leaves out on purpose what must not be installed.
RUN python3 -m venv /opt/venv && \
    /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        --requirement /tmp/requirements.lock && \
    /opt/venv/bin/pip uninstall --yes pip setuptools
COPY challenge /opt/app/challenge
COPY model /opt/app/model
COPY inference.py docker/entrypoint.py LICENSE /opt/app/
ARG WEIGHTS=weights
COPY ${WEIGHTS} /opt/app/weights
COPY docker/sbom.py /tmp/
# Readable by any user, whatever umask the checkout was made with.
RUN chmod -R a+rX,go-w /opt/app && \
    /opt/venv/bin/python3 /tmp/sbom.py /opt/app/weights > /opt/app/sbom.cdx.json

FROM ${BASE}${BASE_DIGEST:+@${BASE_DIGEST}}
ARG VERSION=unknown
ARG REVISION=unknown
ARG VARIANT=cuda
LABEL org.opencontainers.image.title="fmc-uia" \
      org.opencontainers.image.description="FMC_UIA 2026 submission, ${VARIANT}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

# Every cache goes to /tmp: the root may be read-only, the user may have no home and no passwd entry. OpenBLAS and ITK
# would start a thread per core of the host when they are imported, whatever the limit on processes is.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp USER=challenge LOGNAME=challenge XDG_CACHE_HOME=/tmp/.cache \
    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 \
    HF_HUB_OFFLINE=1 FMC_UIA_STEP_DOWN=1 PATH=/opt/venv/bin:$PATH
# What NVIDIA's container runtime mounts where no --gpus says so: all GPUs, CUDA and nvidia-smi. No effect without it.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/app /opt/app

WORKDIR /opt/app
# Root by default: a host that names no user may mount an output folder that only root can write. entrypoint.py then
# becomes the folder's owner, or keeps of root's rights what reading and writing need.
ARG RUN_AS=0:0
# The organisers pass no options, so the image holds the level.
ARG POSTPROCESS=auto
ENV FMC_UIA_POSTPROCESS=${POSTPROCESS}
# The weights must be whole before the image is called built: this checks their hashes, and the level. It stands between ARG and USER
# because some builders take USER from the cache whatever the argument is, but never RUN.
RUN python3 inference.py --list-tasks
USER ${RUN_AS}
ENTRYPOINT ["python3", "/opt/app/entrypoint.py"]
