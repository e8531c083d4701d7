"""Signs requests as a program would, without sending them, and prints how long that took."""

import json
import sys
import time

import botocore.auth
import botocore.awsrequest
import botocore.session

how, profile, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
if how == "in-process":
    import vault_credential_process

    vault_credential_process.install()
began = time.perf_counter()
credentials = botocore.session.Session(profile=profile).get_credentials()
for _ in range(count):
    request = botocore.awsrequest.AWSRequest("GET", "https://s3.us-east-1.amazonaws.com/")
    botocore.auth.SigV4Auth(credentials.get_frozen_credentials(), "s3", "us-east-1").add_auth(request)
print(json.dumps({"seconds": time.perf_counter() - began}))
