# One image for the web server, the worker and the one-off commands: see compose.yaml and docs/deploy.md.
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.txt /src/
RUN python -m venv /venv && /venv/bin/pip install --requirement /src/requirements.txt

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DATA_DIR=/data
RUN useradd --create-home --uid 10001 app && install -d -o app -g app /data
COPY --from=build /venv /venv
WORKDIR /app
COPY . .
USER app
VOLUME /data
EXPOSE 8000
# The worker and Daphne end their runs at the first SIGTERM; whoever stops the container must give them the time.
STOPSIGNAL SIGTERM
CMD ["daphne", "-b", "0.0.0.0", "-p", "8000", "graduation_backend.asgi:application"]
