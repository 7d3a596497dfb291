"""Stands in for the server: healthy, with one model, until SIGTERM."""

import os
import signal
import sys
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from expound.v1 import model_service_pb2, model_service_pb2_grpc


class Models(model_service_pb2_grpc.ModelServiceServicer):
    def ListModels(self, request, context):  # type: ignore[no-untyped-def]
        return model_service_pb2.ListModelsResponse(
            models=[model_service_pb2.Model(name="models/efficientnet_lite0")]
        )

    def GetModel(self, request, context):  # type: ignore[no-untyped-def]
        return model_service_pb2.Model(name=request.name)


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
host, port, health_port = (
    sys.argv[sys.argv.index(name) + 1] for name in ("--host", "--port", "--health-port")
)
server = grpc.server(futures.ThreadPoolExecutor(4))
checks = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(checks, server)
model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
if certificate := os.environ.get("EXPOUND_SERVER_TLS_CERTIFICATE"):
    pair = (Path(os.environ["EXPOUND_SERVER_TLS_KEY"]), Path(certificate))
    credentials = grpc.ssl_server_credentials([(pair[0].read_bytes(), pair[1].read_bytes())])
    server.add_secure_port(f"{host}:{port}", credentials)
else:
    server.add_insecure_port(f"{host}:{port}")
server.add_insecure_port(f"{host}:{health_port}")
server.start()
checks.set("expound.v1.ExplanationService", health_pb2.HealthCheckResponse.SERVING)
print(f"listening on {host}:{port}")
signal.sigwait([signal.SIGTERM])
server.stop(0).wait()
