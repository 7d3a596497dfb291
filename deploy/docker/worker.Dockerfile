# The worker: torch, captum, lime and shap, on GPU or CPU. Build it from the repository's root:
#   docker build --file deploy/docker/worker.Dockerfile --tag expound-worker .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
RUN pip install --no-cache-dir uv==0.13.8 && python -m venv --without-pip /opt/expound
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# uv takes the versions of the lock, of build backends too, and checks downloads against its hashes.
RUN uv pip install --no-config --no-cache --compile-bytecode --python /opt/expound \
      --requirements pyproject.toml --extra worker --constraints requirements.lock \
      --build-constraints requirements.lock
COPY README.md LICENSE ./
COPY protos protos
COPY worker worker
# Only the folders that are here get into the wheel: the contract and the worker.
RUN uv pip install --no-config --no-cache --compile-bytecode --python /opt/expound --no-deps \
      --build-constraints requirements.lock .

FROM ${PYTHON}
COPY --from=build /opt/expound /opt/expound
ENV PATH=/opt/expound/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Caches of libraries go to /tmp, the one folder that has to be writable.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
ENTRYPOINT ["python", "-m", "expound_worker"]
