# Workers, pump and command line in one image; docker-compose.yml says which of them runs.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/sharpwave
COPY infra/sharpwave/infra/local/locks/image.lock ./
RUN /opt/sharpwave/bin/pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes --no-deps -r image.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY producers producers
COPY workers workers
COPY infra infra
RUN /opt/sharpwave/bin/pip install --no-cache-dir --disable-pip-version-check \
    --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home sharpwave \
    && install --directory --owner=sharpwave /archive
COPY --from=build /opt/sharpwave /opt/sharpwave
ENV PATH=/opt/sharpwave/bin:$PATH PYTHONUNBUFFERED=1 AWS_NEW_RETRIES_2026=true
USER sharpwave
CMD ["sharpwave", "--help"]
