"""trio, which newer aiobotocores serve over httpx and anyio."""

from __future__ import annotations

from typing import Any

import trio
from aiobotocore.config import AioConfig
from aiobotocore.httpxsession import HttpxSession
from stage import BUCKET, ENDED, GOOD, Vault, lease


def test_trio_reads_once_and_heals(vault: Vault) -> None:
    """Two hundred tasks of trio make one fetch, and keys that AWS refuses are replaced."""
    vault.gives(lease(3600, ENDED), lease(3600, GOOD))
    session, found = vault.session(), []
    session.set_default_client_config(AioConfig(http_session_cls=HttpxSession))

    async def read() -> None:
        found.append(await (await session.get_credentials()).get_access_key())

    async def main() -> Any:
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(read)
        reads = vault.asked
        async with session.create_client("s3") as client:
            return reads, await client.list_objects_v2(Bucket=BUCKET)

    reads, answer = trio.run(main)

    assert (found, reads) == ([ENDED["AccessKeyId"]] * 200, (1, 1))
    assert "hello.txt" in {one["Key"] for one in answer["Contents"]}
    assert vault.asked == (1, 2)
