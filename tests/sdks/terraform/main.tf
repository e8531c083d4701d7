# Reads a bucket; where keys come from is said by the environment.
variable "bucket" {
  type = string
}

provider "aws" {
  s3_use_path_style          = true
  skip_metadata_api_check    = true
  skip_requesting_account_id = true
}

data "aws_s3_objects" "all" {
  bucket = var.bucket
}

output "names" {
  value = data.aws_s3_objects.all.keys
}
