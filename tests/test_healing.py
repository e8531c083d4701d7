"""Keys that AWS refuses before their end are replaced, and the request is sent again: once, and only where it helps."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest
from botocore.httpchecksum import AwsChunkedWrapper

import vault_credential_process
from vault_credential_process import healing, keeper
from vault_credential_process.demo import aws
from vault_credential_process.testing.scripted import ScriptedServer

from .bench import READ, Bench, Clock
from .conftest import Tenant


@pytest.fixture
def session(short_lived: Tenant) -> Any:
    """A session on the stand-in whose keys AWS knows and Vault says live for an hour."""
    short_lived.laboratory.write_sts(short_lived.role, ttl=3600)
    settings = short_lived.settings | {"vault_aws_probe": "off"}
    return vault_credential_process.boto3_session(region_name=aws.REGION, **settings)


@pytest.fixture
def user(short_lived: Tenant, cloud: aws.LocalAWS) -> Iterator[str]:
    """An IAM user of AWS whose keys the stand-in hands out; return its name."""
    cloud.check(False)
    iam, name = cloud.client("iam"), f"vault-{short_lived.role}"
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="files", PolicyDocument=aws.POLICY)
    cloud.check(True)
    yield name
    cloud.check(False)
    for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName=name, PolicyName="files")
    iam.delete_user(UserName=name)
    cloud.check(True)


def new_key(tenant: Tenant, cloud: aws.LocalAWS, user: str) -> str:
    """Let the stand-in hand out a new key of a user, the only one that it has; return its id."""
    cloud.check(False)
    iam = cloud.client("iam")
    for old in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=user, AccessKeyId=old["AccessKeyId"])
    made = iam.create_access_key(UserName=user)["AccessKey"]
    data = {"access_key": made["AccessKeyId"], "secret_key": made["SecretAccessKey"], "security_token": None}
    tenant.laboratory.write(tenant.role, data)
    # Not before: who is refused the old key meanwhile would be handed it once more.
    cloud.check(True)
    return str(made["AccessKeyId"])


def outcomes(cloud: aws.LocalAWS, begin: int) -> list[tuple[str, str]]:
    """Return the signed requests since a moment, as AWS saw them."""
    return cloud.requests[begin:]


def test_expired_token_costs_one_retry(session: Any, short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """Keys that ended before their time are replaced between two tries of one request, which succeeds."""
    client = session.client("s3", endpoint_url=cloud.endpoint)
    client.list_buckets()
    old = session.get_credentials().access_key
    cloud.end(old, time.time())
    new = short_lived.laboratory.write_sts(short_lived.role, ttl=3600)
    begin = len(cloud.requests)

    answer = client.list_buckets()

    assert answer["ResponseMetadata"]["RetryAttempts"] == 1
    assert outcomes(cloud, begin) == [(old, "expired"), (new, "sent")]
    assert session.get_credentials().access_key == new


def test_body_is_sent_again_whole(session: Any, short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """The second try carries the same body, from its beginning."""
    client = session.client("s3", endpoint_url=cloud.endpoint)
    cloud.end(session.get_credentials().access_key, time.time())
    short_lived.laboratory.write_sts(short_lived.role, ttl=3600)
    content = b"0123456789" * 1000

    client.put_object(Bucket=aws.BUCKET, Key="healed", Body=io.BytesIO(content))

    assert client.get_object(Bucket=aws.BUCKET, Key="healed")["Body"].read() == content
    client.delete_object(Bucket=aws.BUCKET, Key="healed")


def test_head_without_a_code_is_healed_too(session: Any, short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """S3's answer to HEAD has no body: its bare 400 is taken for keys that ended."""
    client = session.client("s3", endpoint_url=cloud.endpoint)
    cloud.end(session.get_credentials().access_key, time.time())
    short_lived.laboratory.write_sts(short_lived.role, ttl=3600)

    assert client.head_object(Bucket=aws.BUCKET, Key="hello.txt")["ContentLength"] == 6


def test_revoked_user_costs_no_request_of_sixteen_threads(
    session: Any, short_lived: Tenant, cloud: aws.LocalAWS, user: str
) -> None:
    """When the IAM user's key is deleted in mid-run, every request of every thread succeeds, after one replacement."""
    first = new_key(short_lived, cloud, user)
    session.get_credentials()
    kept = session.get_credentials().keeper
    object.__setattr__(kept._held.credentials, "issued", kept._held.credentials.issued - 120)  # old enough to be known
    failures: list[BaseException] = []
    done, revoked, keys = threading.Event(), threading.Event(), set()

    def work() -> None:
        client = session.client("sts", endpoint_url=cloud.endpoint)
        after = 0
        while after < 3 and not failures:
            try:
                client.get_caller_identity()
            except botocore.exceptions.ClientError as error:
                failures.append(error)
            keys.add(session.get_credentials().access_key)
            after += revoked.is_set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    second = new_key(short_lived, cloud, user)
    revoked.set()
    for thread in threads:
        thread.join(60)
    done.set()

    assert failures == []
    assert keys == {first, second}
    assert kept.health().refreshes == 2


def test_young_keys_of_a_user_are_not_blamed(session: Any, short_lived: Tenant, cloud: aws.LocalAWS, user: str) -> None:
    """AWS may not know a new user yet: a refusal within the first minute replaces nothing."""
    new_key(short_lived, cloud, user)
    client = session.client("sts", endpoint_url=cloud.endpoint)
    session.get_credentials()
    new_key(short_lived, cloud, user)

    with pytest.raises(botocore.exceptions.ClientError, match="InvalidClientTokenId"):
        client.get_caller_identity()
    assert session.get_credentials().keeper.health().fetches == 1


def test_there_is_no_loop(session: Any, short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """Where the new keys are refused as well the request fails after one more try, and the next is not healed again."""
    client = session.client("s3", endpoint_url=cloud.endpoint)
    first = session.get_credentials().access_key
    second = short_lived.laboratory.write_sts(short_lived.role, ttl=3600)
    for key in (first, second):
        cloud.end(key, time.time())
    begin = len(cloud.requests)

    for _ in range(2):
        with pytest.raises(botocore.exceptions.ClientError, match="ExpiredToken"):
            client.list_buckets()

    assert outcomes(cloud, begin) == [(first, "expired"), (second, "expired"), (second, "expired")]


def test_new_keys_that_are_refused_too_are_replaced_ever_more_seldom(
    scripted: ScriptedServer, exchanges: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that refuses all keys costs one pair an hour in the end; keys that came otherwise begin anew."""
    moment = 1000.0
    monkeypatch.setattr(keeper, "uptime", lambda: moment)
    bench = Bench(scripted, exchanges, Clock())
    bench.on_login()
    scripted.on("GET", READ, *(bench.lease(36000, f"ASIA{number}") for number in range(20)))
    kept = keeper.Keeper(bench.fetcher(vault_aws_background="off"))
    healed = []
    for second in range(12000):
        moment = 1000.0 + second
        if kept.heal(kept.frozen().access_key):
            healed.append(second)
    bench.clock.now += 35990
    other = kept.frozen().access_key

    assert healed == [0, 60, 180, 420, 900, 1860, 3780, 7380, 10980]
    assert (other, kept.heal(other), kept.heal(kept.frozen().access_key)) == ("ASIA10", True, False)


def test_users_that_live_for_seconds_are_not_made_on_stock(
    scripted: ScriptedServer, exchanges: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens of one second must not cost an idle program an IAM user a second; who asks gets a new pair at once."""
    moment = 1000.0
    monkeypatch.setattr(keeper, "uptime", lambda: moment)
    bench = Bench(scripted, exchanges, Clock())
    bench.on_login(lease_duration=1, renewable=False)
    scripted.on("GET", READ, *(bench.lease(36000, f"AKIA{number}", "creds_iam_user") for number in range(3)))
    kept = keeper.Keeper(bench.fetcher(vault_aws_background="off", vault_aws_probe="off"))
    first = kept.frozen().access_key
    next_look = kept.tend()
    moment += 2
    bench.clock.now += 2

    assert (first, next_look) == ("AKIA0", 1000.0 + keeper.PAUSE)
    assert kept.frozen().access_key == "AKIA1"


def test_where_vault_has_no_others_the_error_is_awss(session: Any, short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """With Vault away as well the caller gets what AWS said, after one try."""
    client = session.client("s3", endpoint_url=cloud.endpoint)
    cloud.end(session.get_credentials().access_key, time.time())
    short_lived.laboratory.server.call("DELETE", f"aws/creds/{short_lived.role}")

    with pytest.raises(botocore.exceptions.ClientError, match="ExpiredToken"):
        client.list_buckets()


def test_other_refusals_are_left_alone(session: Any, cloud: aws.LocalAWS) -> None:
    """A bucket that is not there has nothing to do with the keys."""
    client = session.client("s3", endpoint_url=cloud.endpoint)

    with pytest.raises(botocore.exceptions.ClientError, match="NoSuchBucket"):
        client.list_objects_v2(Bucket="no-such-bucket")
    assert session.get_credentials().keeper.health().fetches == 1


def test_keys_of_others_are_left_alone(session: Any, cloud: aws.LocalAWS) -> None:
    """A client that was given keys of its own is none of our business."""
    client = session.client(
        "sts", endpoint_url=cloud.endpoint, aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="EXAMPLE"
    )

    with pytest.raises(botocore.exceptions.ClientError):
        client.get_caller_identity()
    assert session.get_credentials().keeper.health().fetches == 1


class Pipe(io.RawIOBase):
    """A body that can be read once."""

    def readable(self) -> bool:
        return True


class Old:
    """A body of an old kind, which only has what is needed."""

    def read(self) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("body", "again"),
    [
        (b"x", True),
        ("x", True),
        ({}, True),
        (io.BytesIO(), True),
        (Pipe(), False),
        (Old(), False),
        (AwsChunkedWrapper(io.BytesIO()), True),
        (AwsChunkedWrapper(Pipe()), False),
    ],
)
def test_body_that_can_be_read_once_is_not_sent_again(body: Any, again: bool) -> None:
    """What cannot be rewound would be sent half."""
    assert healing._can_be_sent_again(body) is again


def test_managers_clients_heal(short_lived: Tenant, cloud: aws.LocalAWS) -> None:
    """The manager's clients do the same."""
    short_lived.laboratory.write_sts(short_lived.role, ttl=3600)
    manager = vault_credential_process.VaultAWSCredentialManager(region_name=aws.REGION, **short_lived.settings)
    client = manager.get_s3_client(endpoint_url=cloud.endpoint)
    old = manager.get_aws_credentials()["aws_access_key_id"]
    cloud.end(str(old), time.time())
    short_lived.laboratory.write_sts(short_lived.role, ttl=3600)

    assert client.list_buckets()["Buckets"]
    assert manager.health().authenticated
