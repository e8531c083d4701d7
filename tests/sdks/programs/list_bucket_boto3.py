"""An ordinary boto3 program: for each line on stdin it lists a bucket, and says what it found."""

import json
import sys

import boto3
import botocore.exceptions

s3 = boto3.client("s3")
for _ in sys.stdin:
    try:
        found = s3.list_objects_v2(Bucket=sys.argv[1])
        print(json.dumps({"objects": [item["Key"] for item in found["Contents"]]}), flush=True)
    except botocore.exceptions.BotoCoreError as error:
        print(json.dumps({"error": str(error)}), flush=True)
