"""Threads that sign while their credentials end again and again: how long each call for credentials takes.

``python waits.py HOW ADDRESS LIFE ENDS SECONDS`` prints JSON. HOW is ``ours``, which goes on until so many leases were
replaced; ``botocore``, botocore's own refreshable credentials over a plain request to the same server, with windows
that fit the lease; or ``static``, keys that never end, as the control. The last two go on for so many seconds.
"""

import datetime
import json
import sys
import threading
import time

import botocore.credentials
import requests

import vault_credential_process

THREADS = 64
PAUSE = 0.2

how, address, life, ends, limit = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
reads: list[float] = []


def plain_read() -> dict[str, str]:
    """Read as a simple helper would, and answer as botocore wants it."""
    reads.append(time.monotonic())
    data = requests.get(f"{address}/v1/aws/creds/webapp", timeout=30).json()["data"]
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=life)
    return {
        "access_key": data["access_key"],
        "secret_key": data["secret_key"],
        "token": data["security_token"],
        "expiry_time": end.isoformat(),
    }


def made() -> botocore.credentials.Credentials:
    """Return the credentials to measure."""
    if how == "static":
        return botocore.credentials.Credentials("AKIAIOSFODNN7EXAMPLE", "EXAMPLE", "EXAMPLE")
    if how == "botocore":
        return botocore.credentials.RefreshableCredentials.create_from_metadata(
            plain_read(), plain_read, "plain", advisory_timeout=life / 2, mandatory_timeout=life / 4
        )
    settings = {"vault_addr": address, "vault_role_id": "role", "vault_secret_id": "EXAMPLE"}
    session = vault_credential_process.boto3_session(vault_aws_role="webapp", **settings)
    return session.get_credentials()


credentials = made()
seconds: list[float] = []
began = time.monotonic()


def is_over() -> bool:
    """Tell whether all lease ends have been seen."""
    if how == "ours":
        return vault_credential_process.keepers()[0].health().refreshes > ends
    return time.monotonic() - began > limit


def sign() -> None:
    """Ask for credentials as a signer does, now and then."""
    taken = []
    while not is_over():
        before = time.perf_counter()
        credentials.get_frozen_credentials()
        taken.append(time.perf_counter() - before)
        time.sleep(PAUSE)
    seconds.extend(taken)


workers = [threading.Thread(target=sign) for _ in range(THREADS)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
seconds.sort()
result = {
    "calls": len(seconds),
    "longest": seconds[-1],
    "p999": seconds[int(len(seconds) * 0.999)],
    "median": seconds[len(seconds) // 2],
    "took": time.monotonic() - began,
    "fetches": len(reads),
}
if how == "ours":
    health = vault_credential_process.keepers()[0].health()
    result |= {"fetches": health.fetches, "waits": health.waits}
print(json.dumps(result))
