"""TLS of the gRPC port."""

import ssl
from pathlib import Path

import grpc

from expound_server.settings import Settings, SettingsError


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """The credentials that the settings ask for; None where the port is not to be encrypted.

    With authorities of client certificates, only who has a certificate of theirs gets through.

    Raises:
        SettingsError: the settings are incomplete, or a file is not what it should be.
    """
    certificate, key, client_ca = (
        settings.tls_certificate,
        settings.tls_key,
        settings.tls_client_ca,
    )
    if not certificate and not key and not client_ca:
        return None
    if not certificate or not key:
        missing = "--tls-key" if certificate else "--tls-certificate"
        raise SettingsError(f"TLS needs a certificate and its key; {missing} is missing")
    _check(certificate, key, client_ca)
    return grpc.ssl_server_credentials(
        [(Path(key).read_bytes(), Path(certificate).read_bytes())],
        root_certificates=Path(client_ca).read_bytes() if client_ca else None,
        require_client_auth=bool(client_ca),
    )


def _check(certificate: str, key: str, client_ca: str) -> None:
    """Loads the files as a server would; gRPC itself would only fail to bind."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key with a password is refused; without this, OpenSSL would ask the terminal for it.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise SettingsError(f"TLS certificate {certificate} with key {key}: {error}") from None
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise SettingsError(
                f"authorities of client certificates {client_ca}: {error}"
            ) from None
