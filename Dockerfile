# syntax=docker/dockerfile:1
# The submission: frozen graphs and onnxruntime, no torch. Built by docker/do_build.sh.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fmc-uia" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

# Every cache goes to /tmp: the root may be read-only, the user may have no home and no passwd entry.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp USER=challenge LOGNAME=challenge XDG_CACHE_HOME=/tmp/.cache \
    HF_HUB_OFFLINE=1 PATH=/opt/venv/bin:$PATH

COPY requirements-inference.txt /opt/app/
RUN python3 -m venv /opt/venv && pip install --no-cache-dir --requirement /opt/app/requirements-inference.txt

COPY challenge /opt/app/challenge
COPY model /opt/app/model
COPY inference.py LICENSE /opt/app/
COPY weights /opt/app/weights

WORKDIR /opt/app
# The weights must be whole before the image is called built: this checks their hashes.
RUN python3 inference.py --list-tasks
USER 10001:10001
ENTRYPOINT ["python3", "/opt/app/inference.py"]
