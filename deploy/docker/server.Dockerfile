# The server: gRPC in front, Redis behind, no torch. Build it from the repository's root:
#   docker build --file deploy/docker/server.Dockerfile --tag expound-server .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
RUN pip install --no-cache-dir uv==0.13.8 && python -m venv --without-pip /opt/expound
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# uv takes the versions of the lock, of build backends too, and checks downloads against its hashes.
RUN uv pip install --no-config --no-cache --compile-bytecode --python /opt/expound \
      --requirements pyproject.toml --extra server --constraints requirements.lock \
      --build-constraints requirements.lock
COPY README.md LICENSE ./
COPY protos protos
COPY server server
# Only the folders that are here get into the wheel: the contract and the server.
RUN uv pip install --no-config --no-cache --compile-bytecode --python /opt/expound --no-deps \
      --build-constraints requirements.lock .

FROM ${PYTHON}
COPY --from=build /opt/expound /opt/expound
ENV PATH=/opt/expound/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes can see that it is not root. It writes nothing.
USER 10001:10001
EXPOSE 50051
ENTRYPOINT ["python", "-m", "expound_server"]
CMD ["--host", "0.0.0.0", "--port", "50051"]
