"""Where Redis is: one server, or the sentinels that know which one is the master."""

from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

_SENTINEL_PORT = 26379
_ALLOWED = (
    "the URL of Redis must be redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], the same with "
    "rediss:// for TLS, unix://PATH, or "
    "sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/MASTER[/DATABASE]; "
    "ports and databases are numbers, and Redis Cluster is not supported"
)


@dataclass(frozen=True)
class RedisAddress:
    """What the URL of Redis says.

    Attributes:
        url: the URL.
        sentinels: host and port of each sentinel; none where the URL is that of Redis itself.
        master: by which name they know the master.
        options: what connections to the master need, by redis-py's names.
        sentinel_options: what connections to the sentinels need.
    """

    url: str = field(repr=False)  # it has the password
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads `redis://`, `rediss://` (TLS) and `unix://` as redis-py does, and `sentinel://`.

        User and password are those of the master; `?sentinel_password=` is that of the sentinels.
        Redis Cluster is not supported: Celery's messages need a Redis of one piece.

        Raises:
            ValueError: it is another URL.
        """
        try:
            parts = urlsplit(url)
            match parts.scheme:
                case "unix":
                    return cls(url)
                case "redis" | "rediss":
                    _ = parts.port, _database(parts.path.strip("/"))
                    return cls(url)
                case "sentinel":
                    return cls._of_sentinels(url, parts)
        except ValueError:
            pass  # it is of no other kind either
        raise ValueError(_ALLOWED)

    @classmethod
    def _of_sentinels(cls, url: str, parts: SplitResult) -> Self:
        master, _, database = parts.path.strip("/").partition("/")
        user, _, hosts = parts.netloc.rpartition("@")
        if not hosts or not master:
            raise ValueError
        name, _, password = user.partition(":")
        options = {
            "db": _database(database),
            "username": unquote(name),
            "password": unquote(password),
        }
        sentinel_password = dict(parse_qsl(parts.query)).get("sentinel_password")
        return cls(
            url,
            tuple(_host_and_port(host) for host in hosts.split(",")),
            master,
            {key: value for key, value in options.items() if value != ""},
            {"password": sentinel_password} if sentinel_password else {},
        )

    @property
    def celery_settings(self) -> dict[str, Any]:
        """Celery's settings `broker_url`, and what `broker_transport_options` need besides."""
        if not self.sentinels:
            return {"broker_url": self.url, "broker_transport_options": {}}
        user = ":".join(
            quote(self.options.get(key, ""), safe="") for key in ("username", "password")
        )
        urls = [
            f"sentinel://{user}@{host}:{port}/{self.options['db']}" for host, port in self.sentinels
        ]
        options = {"master_name": self.master, "sentinel_kwargs": self.sentinel_options}
        return {"broker_url": ";".join(urls), "broker_transport_options": options}


def _database(text: str) -> int:
    return int(text or 0)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.partition(":")
    return host, int(port or _SENTINEL_PORT)
