# The bot: Discord's side alone, without torch. Build from the repository's root.

FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/zoetrope
WORKDIR /build
COPY pyproject.toml constraints.txt README.md ./
# s3fs, where the store is a bucket.
ARG EXTRA_PACKAGES=
RUN /opt/zoetrope/bin/pip install --no-cache-dir --constraint constraints.txt . ${EXTRA_PACKAGES}

FROM python:3.11-slim-bookworm
COPY --from=build /opt/zoetrope /opt/zoetrope
ENV PATH=/opt/zoetrope/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The same user in both images, because both write to the store's volume; a new volume takes its folder's owner.
RUN groupadd --gid 10001 zoetrope \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home zoetrope \
    && install --directory --owner zoetrope --group zoetrope /data /data/store
WORKDIR /app
COPY config.toml ./
COPY jobs jobs
COPY media media
COPY bot bot
COPY commands commands
# Of this folder the bot reads the settings and the lists of checkpoints; neither needs torch.
COPY inference inference
COPY console console
USER 10001:10001
CMD ["python", "-m", "console", "bot"]
