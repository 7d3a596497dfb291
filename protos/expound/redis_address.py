"""Where Redis is: one server, or the sentinels that know which one is the master."""

import re
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

_PORT = 6379
_SENTINEL_PORT = 26379
_QUERIES = {
    "redis": {"db"},
    "rediss": {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"},
    "unix": {"db"},
    "sentinel": {"sentinel_password"},
}
_HOST_AND_PORT = re.compile(
    r"(\[(?P<ipv6>[^\[\]]*:[^\[\]]*)\]|(?P<name>[^\[\]:]+))(:(?P<port>\d+))?"
)
_TLS = {"ssl": True, "ssl_cert_reqs": "required"}
_ALLOWED = (
    "the URL of Redis must be redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], the same with "
    "rediss:// for TLS and ?ssl_ca_certs=FILE for an authority of its own, "
    "unix://[USER:PASSWORD@]PATH[?db=DATABASE], or "
    "sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/MASTER[/DATABASE]; "
    "ports and databases are numbers, and Redis Cluster is not supported"
)


@dataclass(frozen=True)
class RedisAddress:
    """What the URL of Redis says.

    Attributes:
        options: what a client of Redis, or of the master that the sentinels know, needs to connect,
            by the names that redis-py's `Redis` has for it.
        sentinels: host and port of each sentinel; none where the URL is that of Redis itself.
        master: by which name they know the master.
        sentinel_options: what connections to the sentinels need.
    """

    options: dict[str, Any] = field(repr=False)  # they have the password
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads `redis://`, `rediss://` (TLS), `unix://` and `sentinel://`.

        User and password are those of Redis; `?sentinel_password=` is that of the sentinels. `?db=`
        goes before the path. Over TLS Redis needs a certificate for its host, of an authority that
        the system knows or of one in the PEM file `?ssl_ca_certs=`; `?ssl_certfile=` and
        `?ssl_keyfile=` are the client's own. Redis Cluster is not supported: Celery's messages need
        a Redis of one piece.

        Raises:
            ValueError: it is another URL, or asks for something else.
        """
        try:
            parts = _split(url)
            query = dict(parse_qsl(parts.query))
            if query.keys() <= _QUERIES.get(parts.scheme, set()):
                return cls._of(parts, query)
        except ValueError:
            pass  # it is of no other kind either
        raise ValueError(_ALLOWED)

    @classmethod
    def _of(cls, parts: SplitResult, query: dict[str, str]) -> Self:
        match parts.scheme:
            case "redis" | "rediss":
                tls = _TLS if parts.scheme == "rediss" else {}
                login = _login(parts, query.get("db", parts.path))
                return cls({**query, **tls, **_host(parts), **login})
            case "unix":
                return cls({**_socket(parts), **_login(parts, query.get("db", ""))})
            case "sentinel":
                return cls._of_sentinels(parts, query)
        raise ValueError

    @classmethod
    def _of_sentinels(cls, parts: SplitResult, query: dict[str, str]) -> Self:
        master, _, database = parts.path.strip("/").partition("/")
        hosts = unquote(parts.netloc.rpartition("@")[2])
        if not hosts or not master:
            raise ValueError
        password = query.get("sentinel_password")
        return cls(
            _login(parts, database),
            tuple(_host_and_port(host) for host in hosts.split(",")),
            master,
            {"password": password} if password else {},
        )

    @property
    def celery_settings(self) -> dict[str, Any]:
        """Celery's settings of the connection; `broker_transport_options` is to be added to."""
        known = {"master_name": self.master, "sentinel_kwargs": self.sentinel_options}
        return {
            "broker_url": self._broker_url(),
            # Without any, Celery would believe every certificate.
            "broker_use_ssl": {
                name: value for name, value in self.options.items() if name.startswith("ssl_")
            },
            "broker_transport_options": known if self.sentinels else {},
        }

    def _broker_url(self) -> str:
        options = self.options
        user = ":".join(quote(options.get(key, ""), safe="") for key in ("username", "password"))
        if self.sentinels:
            places = [f"{user}@{_netloc(*each)}/{options['db']}" for each in self.sentinels]
            return ";".join(f"sentinel://{place}" for place in places)
        if "unix_socket_path" in options:
            path = quote(options["unix_socket_path"])
            return f"redis+socket://{user}@{path}?virtual_host={options['db']}"
        scheme = "rediss" if "ssl" in options else "redis"
        netloc = _netloc(options["host"], options["port"])
        return f"{scheme}://{user}@{netloc}/{options['db']}"


def _split(url: str) -> SplitResult:
    # Brackets are for one host, and sentinels are several.
    if url.startswith("sentinel:"):
        url = url.replace("[", "%5B").replace("]", "%5D")
    return urlsplit(url)


def _login(parts: SplitResult, database: str) -> dict[str, Any]:
    user = {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    given = {key: value for key, value in user.items() if value}
    return {"db": int(database.strip("/") or 0), **given}


def _host(parts: SplitResult) -> dict[str, Any]:
    return {"host": unquote(parts.hostname or "localhost"), "port": parts.port or _PORT}


def _socket(parts: SplitResult) -> dict[str, Any]:
    if parts.hostname or not parts.path:
        raise ValueError
    return {"unix_socket_path": unquote(parts.path)}


def _host_and_port(address: str) -> tuple[str, int]:
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        raise ValueError
    return found["ipv6"] or found["name"], int(found["port"] or _SENTINEL_PORT)


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
