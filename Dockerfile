# The gateway with the embedded engine. No torch, no build tools, no root.
# Models are mounted: -v "$PWD/model_repository:/models:ro" (make models writes them).
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY server server
COPY export export
COPY clients clients
COPY load_tests load_tests
COPY tools/constraints.txt tools/constraints.txt
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --constraint tools/constraints.txt '.[server]'

FROM python:3.11-slim-bookworm
COPY --from=build /venv /venv
RUN useradd --system --uid 10001 rolecall
USER 10001
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ROLECALL_HOST=0.0.0.0 \
    ROLECALL_MODEL_REPOSITORY=/models \
    ROLECALL_LOG_FORMAT=json
EXPOSE 50051 9464
ENTRYPOINT ["rolecall"]
CMD ["serve"]
