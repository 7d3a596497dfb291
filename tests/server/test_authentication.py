"""Which tenant a caller is, of all that a call may come with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from expound_server.authentication import Authenticator
from expound_server.errors import Unauthenticated
from expound_server.tenants_file import read_tenants
from tests.server.tenants import RADIOLOGY, two_tenants

CERTIFICATES = """
    [tenants.scanners]
    certificates = ["scanner.example.org", "ward-3"]
    [tenants.wards]
    certificates = ["ward-4"]
"""
KNOWN, UNKNOWN = [f"Bearer {RADIOLOGY}"], ["Bearer neither-of-them"]

Make = Callable[[str], Authenticator]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes what tells the tenants of a file apart."""

    def made(content: str) -> Authenticator:
        file = tmp_path / "tenants.toml"
        file.write_text(content)
        return Authenticator(read_tenants(file))

    return made


@pytest.mark.parametrize(
    ("authorization", "names", "expected"),
    [
        (KNOWN, [], "radiology"),
        (KNOWN, ["ward-4"], "radiology"),
        (KNOWN, ["elsewhere"], "radiology"),
        ([], ["ward-4"], "wards"),
        ([], ["elsewhere", "ward-4"], "wards"),
        ([], ["ward-4", "ward-3"], "wards"),
    ],
)
def test_a_token_wins_over_a_certificate_and_its_first_name_that_is_known(
    make: Make, authorization: list[str], names: list[str], expected: str
) -> None:
    authenticator = make(two_tenants() + CERTIFICATES)
    assert authenticator.tenant(authorization, names).name == expected


@pytest.mark.parametrize(
    ("authorization", "names", "message"),
    [
        (UNKNOWN, ["ward-4"], "the token is not one that is known"),
        ([*KNOWN, *KNOWN], ["ward-4"], "must be 'Bearer TOKEN', once"),
        ([], ["elsewhere"], "the client certificate belongs to no tenant"),
        ([], [], "who calls is not said"),
    ],
)
def test_no_certificate_makes_up_for_a_token_that_is_wrong(
    make: Make, authorization: list[str], names: list[str], message: str
) -> None:
    authenticator = make(two_tenants() + CERTIFICATES)
    with pytest.raises(Unauthenticated, match=message):
        authenticator.tenant(authorization, names)


def test_a_certificate_says_nothing_where_tenants_have_tokens_alone(make: Make) -> None:
    with pytest.raises(Unauthenticated, match="who calls is not said"):
        make(two_tenants()).tenant([], ["ward-4"])


def test_a_message_is_read_where_a_certificate_may_say_who_calls_and_no_token_is_wrong(
    make: Make,
) -> None:
    with pytest.raises(Unauthenticated):
        make(two_tenants()).check([])
    authenticator = make(two_tenants() + CERTIFICATES)
    authenticator.check([])
    authenticator.check(KNOWN)
    with pytest.raises(Unauthenticated):
        authenticator.check(UNKNOWN)
