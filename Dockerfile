# The service in an image: `docker build --tag seqstep .`
# By its digest, since a tag is given another image tomorrow. Another one that you have checked:
#   docker build --build-arg PYTHON=python:3.11-slim-bookworm@sha256:… --tag seqstep .
ARG PYTHON=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

FROM ${PYTHON} AS builder
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# What builds the wheel, and lists what is in the image, is locked too and stays out of it. Without pip of its own, the
# environment that is shipped cannot install anything.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --requirement requirements-build.lock \
 && python -m venv --without-pip /opt/seqstep \
 && /opt/build/bin/pip --python /opt/seqstep/bin/python install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY generated/python/engagement generated/python/engagement
COPY clients/python clients/python
COPY service service
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist ./clients/python . \
 && /opt/build/bin/pip --python /opt/seqstep/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl \
 && /opt/build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/seqstep/sbom.cdx.json \
    /opt/seqstep/bin/python

FROM ${PYTHON}
LABEL org.opencontainers.image.title="seqstep" \
      org.opencontainers.image.description="One gRPC call that changes one step of a sequence at Apollo or Outreach" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin seqstep \
 && install --directory --owner seqstep --group seqstep --mode 0700 /var/lib/seqstep
COPY --from=builder /opt/seqstep /opt/seqstep
# Nothing is written but in the volume and in /tmp: `docker run --read-only --tmpfs /tmp --volume seqstep:/var/lib/seqstep seqstep`.
# Without SEQSTEP_DATABASE_URL, the database is a SQLite file in the volume, the folder that the service starts in.
# Other machines reach a container: give it a certificate, or SEQSTEP_ALLOW_PLAINTEXT=true behind a proxy that does TLS.
ENV PATH=/opt/seqstep/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SEQSTEP_GRPC_ADDRESS=0.0.0.0:50051 \
    SEQSTEP_HTTP_ADDRESS=0.0.0.0:8080 \
    SEQSTEP_ADMIN_ADDRESS=0.0.0.0:9464
USER 10001
WORKDIR /var/lib/seqstep
VOLUME ["/var/lib/seqstep"]
EXPOSE 50051 8080 9464
STOPSIGNAL SIGTERM
# By the shell alone: a Python process would cost a second of CPU each time. The process lives as long as this answers; whether
# it is ready is for balancers, which ask /readyz, since a restart does not bring a database back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${SEQSTEP_ADMIN_ADDRESS##*:} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r answer <&3 && [[ $answer == *' 200 '* ]]"]
ENTRYPOINT ["seqstep"]
CMD ["serve"]
