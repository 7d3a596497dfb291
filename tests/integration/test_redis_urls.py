"""Redis where its URL says, by a socket of the file system and by TLS: every part gets there."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis
from kombu.exceptions import OperationalError

from expound import tasks
from expound_client import Client, State
from expound_server.broker import Broker
from expound_server.connection import connect as connect_server
from expound_server.errors import BrokerUnavailable
from expound_worker.app import create_app
from expound_worker.connection import connect as connect_worker
from expound_worker.settings import Settings
from tests import photos
from tests.certificates import Authority
from tests.processes import RedisServer, wait_until
from tests.service import Server, Worker
from tests.tls_front import TlsFront

PASSWORD = "p@ss:word"
USER = ":p%40ss%3Aword@"
DATABASE = 3
MODELS = """
[models.small]
builder = "tests.models.networks:cifar"
batch_size = 4
[models.small.input]
shape = [3, 32, 32]
"""
QUEUES = [tasks.queue_key(kind) for kind in (tasks.GRADIENT, tasks.PERTURBATION)]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Redis with a password, that listens on a socket of the file system too."""
    server = RedisServer(password=PASSWORD)
    server.command += ["--unixsocket", str(tmp_path / "redis; 1.sock")]
    with server:
        yield server


@pytest.fixture
def database(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """The database that the URLs name, reached by none of them."""
    with redis.Redis(port=redis_server.port, password=PASSWORD, db=DATABASE) as client:
        yield client


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def tls(
    server: RedisServer, authority: Authority, name: str = "127.0.0.1", *, mutual: bool = False
) -> Iterator[str]:
    """The same Redis under a certificate of the authority; gives a URL that names no authority."""
    client_ca = authority.file if mutual else None
    with TlsFront(server.port, authority.issue(name), client_ca) as front:
        yield f"rediss://{USER}127.0.0.1:{front.port}/{DATABASE}"


@pytest.fixture(params=["path", "query", "socket", "tls", "mutual tls"])
def url(
    request: pytest.FixtureRequest, redis_server: RedisServer, authority: Authority, tmp_path: Path
) -> Iterator[str]:
    """The same database, by each kind of URL."""
    place = f"{USER}127.0.0.1:{redis_server.port}"
    match request.param:
        case "path":
            yield f"redis://{place}/{DATABASE}"
        case "query":
            yield f"redis://{place}?db={DATABASE}"
        case "socket":
            yield f"unix://{USER}{tmp_path}/redis%3B%201.sock?db={DATABASE}"
        case "tls":
            with tls(redis_server, authority) as url:
                yield f"{url}?ssl_ca_certs={authority.file}"
        case "mutual tls":
            own = authority.issue("expound")
            with tls(redis_server, authority, mutual=True) as url:
                files = f"ssl_certfile={own.chain}&ssl_keyfile={own.key}"
                yield f"{url}?ssl_ca_certs={authority.file}&{files}"


async def test_both_parts_have_its_database_and_send_tickets_there(
    url: str, database: redis.Redis
) -> None:
    with closing(connect_worker(url)) as worker:
        worker.set("of", "worker")
    assert database.get("of") == b"worker"
    server = connect_server(url, 2)
    await server.set("of", "server")
    await server.aclose()
    assert database.get("of") == b"server"
    with closing(Broker(url)) as broker:
        await broker.send_explain("one", tasks.DEFAULT_POOL)
    with closing(create_app(Settings(redis_url=url))) as app:
        app.send_task(tasks.PERTURB, ("one", 0), queue=tasks.PERTURBATION)
    assert [database.llen(queue) for queue in QUEUES] == [1, 1]


@pytest.mark.parametrize("url", ["socket", "tls"], indirect=True)
def test_a_whole_service_works_over_it(url: str, database: redis.Redis, tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    models.write_text(MODELS)
    with Server(url) as server, Worker(url, models) as worker:
        wait_until(server.serving, "the service being ready", 120)
        with Client(server.address) as client:
            job = client.explain(photos.chelsea(), model="small", methods=["saliency", "lime"])
            assert job.result(60).state is State.SUCCEEDED
        # Tickets are taken, though the work may have been heard of without them.
        wait_until(lambda: not any(map(database.llen, QUEUES)), "the tickets being taken")
        worker.check_alive()


@pytest.mark.parametrize("wrong", ["authority unknown", "another authority", "another name"])
async def test_a_redis_that_does_not_prove_who_it_is_gets_no_password(
    wrong: str, redis_server: RedisServer, authority: Authority, tmp_path: Path
) -> None:
    name = "elsewhere.example.org" if wrong == "another name" else "127.0.0.1"
    with tls(redis_server, authority, name) as url:
        if wrong != "authority unknown":
            known = Authority(tmp_path, "other") if wrong == "another authority" else authority
            url += f"?ssl_ca_certs={known.file}"
        with closing(connect_worker(url)) as worker, pytest.raises(redis.ConnectionError):
            worker.ping()
        server = connect_server(url, 2)
        with pytest.raises(redis.ConnectionError):
            await server.ping()
        await server.aclose()
        with closing(Broker(url)) as broker, pytest.raises(BrokerUnavailable):
            await broker.send_explain("one", tasks.DEFAULT_POOL)
        refused = pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED")
        with closing(create_app(Settings(redis_url=url))) as app, refused:
            app.send_task(tasks.PERTURB, ("one", 0), queue=tasks.PERTURBATION)
