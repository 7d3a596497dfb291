"""A tenants.toml for tests, and calls in a tenant's name."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from expound_server.settings import Settings
from tests.server.conftest import Server, running

RADIOLOGY, CARDIOLOGY = "radiology-token-1a2b3c", "cardiology-token-4d5e6f"


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def two_tenants(**limits: int) -> str:
    """Two tenants with a token each; the limits are radiology's."""
    lines = "\n".join(f"{name} = {value}" for name, value in limits.items())
    return f"""
        [tenants.radiology]
        token_sha256 = ["{token_hash("an older one")}", "{token_hash(RADIOLOGY)}"]
        [tenants.radiology.limits]
        {lines}
        [tenants.cardiology]
        token_sha256 = ["{token_hash(CARDIOLOGY)}"]
    """


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata with a token."""
    return (("authorization", f"Bearer {token}"),)


@asynccontextmanager
async def serving(settings: Settings, folder: Path, tenants: str) -> AsyncIterator[Server]:
    """Runs a server with this tenants.toml."""
    file = folder / "tenants.toml"
    file.write_text(tenants)
    async with running(replace(settings, tenants=str(file))) as server:
        yield server
