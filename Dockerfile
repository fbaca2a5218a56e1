# BASE: any image with Python 3.11 or newer and its venv module. Both stages use the same one.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /build
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/responder
COPY requirements.lock requirements-build.lock ./
RUN tools/bin/pip --no-cache-dir install --require-hashes --only-binary :all: --requirement requirements-build.lock \
 && tools/bin/pip --no-cache-dir --python /opt/responder/bin/python install --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY responder responder
RUN tools/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir wheels . \
 && tools/bin/pip --no-cache-dir --python /opt/responder/bin/python install --no-deps --no-index wheels/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="Responder" \
      org.opencontainers.image.description="Turns alerts into safe rollbacks" \
      org.opencontainers.image.licenses="Apache-2.0"
# The service installs nothing, so the installer that some base images carry goes.
RUN if python3 -m pip --version >/dev/null 2>&1; then python3 -m pip uninstall --yes --root-user-action ignore pip; fi \
 && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/responder /opt/responder
COPY LICENSE /opt/responder/LICENSE
ENV PATH=/opt/responder/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RESPONDER_HOST=0.0.0.0 \
    RESPONDER_PORT=8080 \
    RESPONDER_RULES=/rules \
    RESPONDER_DATABASE_URL=sqlite:////data/responder.db
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
    CMD ["/opt/responder/bin/python", "-I", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['RESPONDER_PORT'] + '/healthz', timeout=3)"]
ENTRYPOINT ["/opt/responder/bin/responder"]
CMD ["serve"]
