# The worker: renders on a CUDA device. Build from the repository's root.
#
# CUDA's libraries come inside torch's own wheels, and the driver from the host through NVIDIA's container toolkit, so
# the base is the Python that the tests run on, not an image with a second copy of CUDA.

FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/zoetrope
WORKDIR /build
COPY pyproject.toml constraints.txt README.md ./
# s3fs, where the store is a bucket.
ARG EXTRA_PACKAGES=
RUN /opt/zoetrope/bin/pip install --no-cache-dir --constraint constraints.txt ".[worker]" ${EXTRA_PACKAGES}

FROM python:3.11-slim-bookworm
COPY --from=build /opt/zoetrope /opt/zoetrope
ENV PATH=/opt/zoetrope/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The same user in both images, because both write to the store's volume; a new volume takes its folder's owner.
RUN groupadd --gid 10001 zoetrope \
    && useradd --uid 10001 --gid 10001 --home-dir /scratch --no-create-home zoetrope \
    && install --directory --owner zoetrope --group zoetrope /data /data/store /models /scratch
WORKDIR /app
COPY config.toml ./
COPY jobs jobs
COPY media media
COPY inference inference
# Settings and the healthcheck live beside the bot's; nothing of Discord runs here, and there is no token.
COPY bot bot
COPY console console
USER 10001:10001
CMD ["python", "-m", "console", "worker"]
