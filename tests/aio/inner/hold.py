"""Print for how many milliseconds the event loop was held at most: with keys of Vault, or with static ones.

Two figures: by the clock, and by what all threads of this program worked meanwhile, which leaves out other programs.
Two hundred tasks read credentials for the first time; then fifty go on signing, across two lease ends.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import aiobotocore.session

import vault_credential_process

SECONDS = 3.5
PROFILES = {"vault": "webapp", "static": "static"}


async def tick(gaps: list[tuple[float, float]]) -> None:
    """Note how late each tick of 1 ms is, and what was worked in it."""
    while True:
        began, worked = time.perf_counter(), time.process_time()
        await asyncio.sleep(0.001)
        gaps.append((time.perf_counter() - began - 0.001, time.process_time() - worked))


async def main(session: Any) -> tuple[float, float]:
    """Return the longest gap between two ticks and the most that was worked in one, in ms."""
    until = time.monotonic() + SECONDS
    async with session.create_client("s3", aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="EXAMPLE") as client:
        await client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    gaps: list[tuple[float, float]] = []
    ticking = asyncio.create_task(tick(gaps))
    await asyncio.sleep(0.05)
    gaps.clear()

    async def first() -> None:
        await (await session.get_credentials()).get_frozen_credentials()

    await asyncio.gather(*(first() for _ in range(200)))
    async with session.create_client("s3") as client:

        async def sign(after: float) -> None:
            await asyncio.sleep(after)
            while time.monotonic() < until:
                await client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
                await asyncio.sleep(0.2)

        await asyncio.gather(*(sign(0.2 * place / 50) for place in range(50)))
    ticking.cancel()
    return max(gap for gap, _ in gaps) * 1000, max(worked for _, worked in gaps) * 1000


if sys.argv[1] == "vault":
    vault_credential_process.install()
print(*asyncio.run(main(aiobotocore.session.AioSession(profile=PROFILES[sys.argv[1]]))))
