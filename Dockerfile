# cpmae-bids as a container: the app, its weights and its fallback template inside, no network at run time.
#
#   docker build -t cpmae-bids --build-arg TORCH=cpu .
#   docker build -t cpmae-bids:cuda --build-arg TORCH=cuda .
#   docker run --rm -u "$(id -u):$(id -g)" -v /data:/data:ro -v /out:/out cpmae-bids /data /out participant
#
# Build arguments: BASE (any image with Python 3.11 and its venv module; by default one that is named by its digest, so
# that all builds begin alike) and TORCH (cpu, cuda, or a pip requirement for another build of PyTorch; by default the CPU
# build where pip can find it). VERSION, REVISION and CREATED go into the labels.
# PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS and PIP_CERT reach pip while building and no further.

ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# --- everything that the app needs, in an environment of its own
FROM ${BASE} AS dependencies
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
ARG TORCH
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/cpmae-bids
COPY docker/requirements.lock docker/torch-cpu.lock docker/torch-cuda.lock docker/install_torch.sh /build/docker/
RUN /opt/cpmae-bids/bin/python -m pip install --no-deps --require-hashes -r /build/docker/requirements.lock \
    && /build/docker/install_torch.sh /opt/cpmae-bids/bin/python ${TORCH}

# --- the app alone, below /app
FROM dependencies AS app
COPY setup.cfg pyproject.toml MANIFEST.in LICENSE README.md /build/
COPY cpmae_bids /build/cpmae_bids
RUN /opt/cpmae-bids/bin/python -m pip install --no-deps --no-build-isolation --root /app /build

# --- what is shipped: a large layer that seldom changes, and a small one with the app and its weights
FROM ${BASE} AS shipped
RUN useradd --uid 1000 --create-home --home-dir /home/cpmae --shell /usr/sbin/nologin cpmae \
    && chmod -R a+rX /home/cpmae
COPY --from=dependencies /opt/cpmae-bids /opt/cpmae-bids
# Copied, not installed from a mount: older buildah and podman do not see that what they mount has changed.
COPY --from=app /app/opt/cpmae-bids /opt/cpmae-bids
COPY docker/check_install.py /opt/cpmae-bids/check_install.py

# Nothing outside the output, the work directory and /tmp is written, whatever user runs the container.
ENV PATH=/opt/cpmae-bids/bin:$PATH \
    HOME=/home/cpmae \
    LC_ALL=C.UTF-8 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    NO_ET=1 \
    XDG_CACHE_HOME=/tmp/cpmae-bids \
    MPLCONFIGDIR=/tmp/cpmae-bids/matplotlib \
    TEMPLATEFLOW_HOME=/tmp/cpmae-bids/templateflow \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

USER cpmae
WORKDIR /tmp
RUN cpmae-bids --version && python -m pip check && python /opt/cpmae-bids/check_install.py && rm -rf "$XDG_CACHE_HOME"
ARG BASE
ARG VERSION=
ARG REVISION=
ARG CREATED=
# Named in dataset_description.json of what the image makes.
ENV CPMAE_BIDS_DOCKER_TAG=cpmae-bids:${VERSION:-latest}
LABEL org.opencontainers.image.title="cpmae-bids" \
      org.opencontainers.image.description="BIDS App that gives T1w MRI a different, generated head around a bit-identical brain" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"
ENTRYPOINT ["/opt/cpmae-bids/bin/cpmae-bids"]
