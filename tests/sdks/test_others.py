"""SDKs of other languages, in programs that know nothing of Vault: across the end of their keys, and when it fails."""

from __future__ import annotations

import pytest

from .sdks import SDKS
from .ways import Way

pytestmark = [pytest.mark.system, pytest.mark.soak]

LINE = "Vault is sealed; unseal it"
OTHERS = [name for name in SDKS if name not in ("boto3", "JavaScript v3")]
ON_THE_TERMINAL = {"Go v1", "Go v2", "Ruby"}
"""They leave the process its stderr."""
IN_THE_ERROR = {"boto3", "Rust"}


@pytest.mark.parametrize("name", OTHERS)
def test_lists_across_the_end_of_its_keys(request: pytest.FixtureRequest, name: str, way: Way) -> None:
    """A program lists, idles until its keys have ended, and lists again with others: no request is refused."""
    if (name, way.name) == ("Ruby", "endpoint"):
        pytest.skip("Ruby's SDK of Debian 12 knows no AWS_CONTAINER_CREDENTIALS_FULL_URI")
    first = way.issue(4)
    with SDKS[name](request.getfixturevalue, way) as program:
        before = program.lists()
        second = way.replace()
        after = program.lists()

    assert [text for text in (before, after) if "error" in text.lower()] == []
    assert list(dict.fromkeys(way.signed())) == [(first, "sent"), (second, "sent")]


@pytest.mark.parametrize("name", [name for name in SDKS if name != "JavaScript v3"])
def test_shows_no_secret_when_vault_is_sealed(request: pytest.FixtureRequest, name: str, by_process: Way) -> None:
    """Where our line is shown is known of each; a secret is shown by none."""
    by_process.issue()
    with SDKS[name](request.getfixturevalue, by_process) as program:
        first = program.lists()
        signed = by_process.signed()
        with by_process.sealed():
            by_process.outlive()
            shown = program.lists()

    assert "error" not in first.lower()
    assert "error" in shown.lower() or name == "Go v1"
    assert by_process.signed() == signed
    assert (LINE in shown) is (name in IN_THE_ERROR or name == "Go v1")
    assert (LINE in program.shown) is (name in IN_THE_ERROR | ON_THE_TERMINAL)
    assert by_process.secrets_in(program.shown) == []
