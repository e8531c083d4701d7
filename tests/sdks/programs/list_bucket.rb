# An ordinary program of the AWS SDK for Ruby: for each line on stdin it lists a bucket, and says what it found.
require "json"

require "aws-sdk-s3"

$stdout.sync = true
s3 = nil
while $stdin.gets
  begin
    s3 ||= Aws::S3::Client.new(endpoint: ENV.fetch("AWS_ENDPOINT_URL"), force_path_style: true)
    found = s3.list_objects_v2(bucket: ARGV[0])
    puts JSON.generate(objects: found.contents.map(&:key))
  rescue StandardError => e
    puts JSON.generate(error: e.message)
  end
end
