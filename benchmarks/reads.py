"""What reading credentials costs outside a refresh: ours and botocore's own class, in turn; prints the ratio."""

import datetime
import sys
import timeit

import botocore.credentials

import vault_credential_process

session = vault_credential_process.boto3_session(profile_name=sys.argv[1])
ours = session.get_credentials().get_frozen_credentials
end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
keys = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "EXAMPLE", "token": "EXAMPLE"}
data = {**keys, "expiry_time": end.isoformat()}
theirs = botocore.credentials.RefreshableCredentials.create_from_metadata(data, dict, "x").get_frozen_credentials
taken = {read: min(timeit.repeat(read, number=20_000, repeat=5)) for read in (ours, theirs, ours, theirs)}
print(taken[ours] / taken[theirs])
