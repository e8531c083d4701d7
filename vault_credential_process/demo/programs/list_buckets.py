"""An ordinary boto3 program: it lists the buckets it may see, and again each second. It knows nothing of Vault."""

import sys
import time

import boto3

session = boto3.Session()
s3 = session.client("s3")
for turn in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
    time.sleep(1 if turn else 0)
    names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    key = session.get_credentials().get_frozen_credentials().access_key
    print(f"{', '.join(names)}  (access key …{key[-4:]})", flush=True)
