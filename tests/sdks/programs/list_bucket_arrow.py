"""An ordinary program of pyarrow, which has the AWS SDK for C++ in it: for each line on stdin it lists a bucket."""

import json
import os
import sys

from pyarrow import fs

s3 = fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"], region=os.environ["AWS_REGION"])
for _ in sys.stdin:
    try:
        found = s3.get_file_info(fs.FileSelector(sys.argv[1]))
        print(json.dumps({"objects": [info.base_name for info in found]}), flush=True)
    except OSError as error:
        print(json.dumps({"error": str(error)}), flush=True)
