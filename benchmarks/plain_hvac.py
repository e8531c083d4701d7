"""What most people write instead: log in with hvac, read, print the document. The yardstick of the benchmarks."""

import datetime
import json
import os
import sys

import hvac

client = hvac.Client(url=os.environ["VAULT_ADDR"])
with open(os.environ["VAULT_SECRET_ID_FILE"]) as file:
    client.auth.approle.login(os.environ["VAULT_ROLE_ID"], file.read().strip())
answer = client.read(f"aws/creds/{os.environ['VAULT_AWS_ROLE']}")
end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=answer["lease_duration"])
json.dump(
    {
        "Version": 1,
        "AccessKeyId": answer["data"]["access_key"],
        "SecretAccessKey": answer["data"]["secret_key"],
        "SessionToken": answer["data"]["security_token"],
        "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
    },
    sys.stdout,
)
