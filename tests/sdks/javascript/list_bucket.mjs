// An ordinary program of the AWS SDK for JavaScript: for each line on stdin it lists a bucket, and says what it found.
// With a profile as its second argument it names where its credentials come from, else it leaves that to the SDK.
import readline from "node:readline";

import { ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { fromIni } from "@aws-sdk/credential-providers";

const [bucket, profile] = process.argv.slice(2);
const s3 = new S3Client({ forcePathStyle: true, ...(profile && { credentials: fromIni({ profile }) }) });
for await (const _ of readline.createInterface({ input: process.stdin })) {
  try {
    const found = await s3.send(new ListObjectsV2Command({ Bucket: bucket }));
    console.log(JSON.stringify({ objects: found.Contents.map((object) => object.Key) }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
