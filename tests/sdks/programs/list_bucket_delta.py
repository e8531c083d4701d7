"""An ordinary program of delta-rs, which signs with the AWS SDK for Rust: for each line on stdin it reads a table."""

import json
import os
import sys

import deltalake

options = {
    "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"],
    "aws_allow_http": "true",
    "aws_force_credential_load": "true",
}
schema = deltalake.Schema([deltalake.Field("name", deltalake.schema.PrimitiveType("string"))])
place, table = f"s3://{sys.argv[1]}/table", None
for _ in sys.stdin:
    try:
        table = table or deltalake.DeltaTable.create(
            f"s3://{sys.argv[1]}/table", schema, "ignore", storage_options=options
        )
        table.update_incremental()
        print(json.dumps({"objects": table.file_uris()}), flush=True)
    except Exception as error:
        print(json.dumps({"error": str(error)}), flush=True)
