"""The server put together: the only place that knows all parts, and the order of start and stop."""

import asyncio
import logging
from pathlib import Path

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from expound.redis_address import RedisAddress
from expound.v1 import explanation_service_pb2, model_service_pb2
from expound.v1.explanation_service_pb2_grpc import add_ExplanationServiceServicer_to_server
from expound.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from expound_server.authentication import Authenticator
from expound_server.broker import Broker
from expound_server.catalogue import Catalogue
from expound_server.connection import connect
from expound_server.deadlines import run_deadlines
from expound_server.doorbell import Doorbell
from expound_server.explanation_servicer import ExplanationServicer
from expound_server.explanations import Explanations
from expound_server.health import Health
from expound_server.interceptors.authentication import AuthenticationInterceptor
from expound_server.interceptors.errors import ErrorInterceptor
from expound_server.interceptors.logging import LoggingInterceptor
from expound_server.interceptors.parsing import ParsingInterceptor
from expound_server.model_servicer import ModelServicer
from expound_server.models import Models
from expound_server.recovery import run_recovery
from expound_server.settings import Settings, SettingsError
from expound_server.store import Store
from expound_server.tenants import Tenants
from expound_server.tenants_file import read_tenants
from expound_server.tls import server_credentials
from expound_server.waits import Waits
from expound_server.watches import Watches

_log = logging.getLogger(__name__)

_MAX_PENDING_CALLS = 100_000
_LAST_CALLS_SHARE = 1 / 20

_SERVICES = (
    explanation_service_pb2.DESCRIPTOR.services_by_name["ExplanationService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)


class App:
    """One server process; made inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tenants = read_tenants(Path(settings.tenants)) if settings.tenants else Tenants()
        self._credentials = server_credentials(settings)
        _check(settings, self._tenants)
        self._redis = connect(settings.redis_url, settings.redis_connections)
        self._store = Store(self._redis, settings.max_reuse_age_s)
        self._catalogue = Catalogue(self._store)
        self._broker = Broker(settings.redis_url)
        self._doorbell = Doorbell(self._redis)
        self._health = Health(self._catalogue, _SERVICES)
        self._waits = Waits(self._store, self._broker, self._doorbell)
        self._explanations = Explanations(
            self._store,
            self._catalogue,
            self._doorbell,
            self._waits,
            settings.max_message_bytes,
            settings.max_waiting,
        )
        self._watches = Watches(self._store, self._doorbell, settings.max_message_bytes)
        self._server = self._make_server()
        self._health_server = self._make_health_server()

    async def start(self) -> int:
        """Starts to serve, and gives the port. Raises RuntimeError when the port is taken."""
        port = self._listen()
        await self._health.update()
        self._loops = [
            asyncio.create_task(loop)
            for loop in (
                self._doorbell.run(),
                run_deadlines(self._store),
                run_recovery(self._store, self._broker),
                self._health.run(),
            )
        ]
        await self._server.start()
        if self._health_server:
            await self._health_server.start()
        return port

    async def serve(self) -> None:
        """Never returns; raises what a background loop fails with, for then nothing can go on."""
        ended, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
        for loop in ended:
            loop.result()

    async def stop(self) -> None:
        """Turns new work away, lets calls end within the grace, then stops everything."""
        await self._health.drain()
        self._watches.stop()
        self._waits.stop()
        # Calls that are on their way are answered yet, for a part of the grace: gRPC cancels those
        # that it has not handed over when it stops. They may still come in that very moment, but
        # they are few then.
        await asyncio.sleep(_LAST_CALLS_SHARE * self._settings.grace_s)
        await self._server.stop(self._settings.grace_s)
        if self._health_server:
            await self._health_server.stop(None)
        for loop in self._loops:
            loop.cancel()
        await asyncio.wait(self._loops)
        self._broker.close()
        await self._redis.aclose()

    def _listen(self) -> int:
        host, port = self._settings.host, self._settings.port
        if self._health_server:
            self._health_server.add_insecure_port(f"{host}:{self._settings.health_port}")
        if self._credentials:
            return self._server.add_secure_port(f"{host}:{port}", self._credentials)
        return self._server.add_insecure_port(f"{host}:{port}")

    def _make_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            # The first one is the outermost: it logs the status that the second one decides on.
            interceptors=[
                LoggingInterceptor(),
                ErrorInterceptor(),
                AuthenticationInterceptor(Authenticator(self._tenants)),
                ParsingInterceptor(),
            ],
            options=_options(self._settings),
        )
        explanations = ExplanationServicer(self._explanations, self._watches)
        add_ExplanationServiceServicer_to_server(explanations, server)
        add_ModelServiceServicer_to_server(ModelServicer(Models(self._catalogue)), server)
        add_HealthServicer_to_server(self._health.servicer, server)
        if not self._tenants.told_apart:
            # It answers whoever asks, so it is not offered where callers have to say who they are.
            reflection.enable_server_reflection(
                (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
            )
        return server

    def _make_health_server(self) -> grpc.aio.Server | None:
        if not self._settings.health_port:
            return None
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_HealthServicer_to_server(self._health.servicer, server)
        return server


def _check(settings: Settings, tenants: Tenants) -> None:
    try:
        RedisAddress.parse(settings.redis_url)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if tenants.certificates and not settings.tls_client_ca:
        raise SettingsError(
            "tenants are told apart by client certificates, and nobody has to have one; "
            "--tls-client-ca is missing"
        )
    if (tenants.token_hashes or tenants.jwt) and not settings.tls_certificate:
        _log.warning("tokens come in the clear: leave TLS out only behind a proxy that does it")


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),
        # gRPC spreads the ages by a tenth, so that not all come back at once.
        ("grpc.max_connection_age_ms", round(settings.max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", round(settings.grace_s * 1000)),
        # Of more calls than 1000 that come at once gRPC would cancel some, without a reason.
        ("grpc.server.max_pending_requests", _MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING_CALLS),
        # Two servers on one port would share its calls without a word.
        ("grpc.so_reuseport", 0),
        # A dead peer is noticed after 20 + 5 s; without the ping timeout it would take a minute.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Clients may do the same; the default would turn them away for it.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
