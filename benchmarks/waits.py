"""Threads that sign while their credentials end again and again: how long each call for credentials takes.

``python waits.py HOW ADDRESS LIFE ENDS THREADS`` prints JSON. HOW is ``ours``, ``botocore`` (botocore's own refreshable
credentials over a plain request to the same server, with windows that fit the lease), or ``static``: keys that never
end, as the control.
"""

import datetime
import json
import sys
import threading
import time
import urllib.request

import botocore.credentials

import vault_credential_process

how, address, life, ends, threads = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
fetches = 0


def plain_read() -> dict[str, str]:
    """Read as a simple helper would, and answer as botocore wants it."""
    global fetches
    fetches += 1
    with urllib.request.urlopen(f"{address}/v1/aws/creds/webapp") as answer:
        data = json.load(answer)["data"]
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
end = time.monotonic() + ends * life * 0.6


def sign() -> None:
    """Ask for credentials as a signer does, now and then."""
    taken = []
    while time.monotonic() < end:
        began = time.perf_counter()
        credentials.get_frozen_credentials()
        taken.append(time.perf_counter() - began)
        time.sleep(0.2)
    seconds.extend(taken)


workers = [threading.Thread(target=sign) for _ in range(threads)]
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
    "fetches": fetches,
    "waits": None,
}
if how == "ours":
    health = vault_credential_process.keepers()[0].health()
    result |= {"fetches": health.fetches, "waits": health.waits, "lease_ends": health.lease_ends}
print(json.dumps(result))
