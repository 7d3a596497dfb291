"""Certificates of an authority of the test's own; made at test time, gone with it."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate chain and its private key."""

    chain: Path
    key: Path


class Authority:
    """A certificate authority that writes what it issues into a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, common_name: str | None = None) -> Certificate:
        """Issues a certificate for DNS names or IP addresses."""
        issued = self._authority.issue_cert(*names, common_name=common_name)
        stem = f"{self.file.stem}-{names[0]}"
        made = Certificate(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        issued.private_key_pem.write_to_path(str(made.key))
        made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return made
