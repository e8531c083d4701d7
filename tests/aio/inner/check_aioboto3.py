"""aioboto3, which is boto3's face on aiobotocore."""

from __future__ import annotations

from typing import Any

import aioboto3
import pytest
from stage import BUCKET, GOOD, Vault, lease, run


async def keys_in(session: Any) -> list[str]:
    """Return what is in the bucket, by client and by resource."""
    async with session.client("s3") as client:
        found = [one["Key"] for one in (await client.list_objects_v2(Bucket=BUCKET))["Contents"]]
    async with session.resource("s3") as resource:
        bucket = await resource.Bucket(BUCKET)
        assert found == [one.key async for one in bucket.objects.all()]
    return found


def test_aioboto3_with_a_session_of_ours(vault: Vault) -> None:
    """A session that was given one of ours lists the bucket."""
    vault.gives(lease(3600, GOOD))

    assert "hello.txt" in run(keys_in(aioboto3.Session(botocore_session=vault.session())))
    assert vault.asked == (1, 1)


@pytest.mark.usefixtures("installed")
def test_aioboto3_after_install(vault: Vault) -> None:
    """After ``install()`` the profile's name is enough."""
    vault.gives(lease(3600, GOOD))

    assert "hello.txt" in run(keys_in(aioboto3.Session(profile_name="webapp")))
    assert vault.asked == (1, 1)
