# The stand-ins for the providers, which the service's image leaves out.
ARG PYTHON=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84
FROM ${PYTHON}
WORKDIR /app
COPY requirements-run.lock ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements-run.lock
COPY sandbox sandbox
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8090
STOPSIGNAL SIGINT
CMD ["python", "-m", "sandbox", "--host", "0.0.0.0"]
