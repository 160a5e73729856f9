# Where the scanned labels are kept, and who may reach the depot's server.

variable "depot_network" {
  description = "The addresses of the depot, from which its server may be reached"
  type        = string
}

variable "network_id" {
  description = "The network of the depot's server"
  type        = string
}

variable "subnet_id" {
  description = "The part of that network in which the depot's server stands"
  type        = string
}

data "aws_caller_identity" "self" {}

data "aws_iam_policy_document" "key" {
  statement {
    sid       = "TheAccountItself"
    actions   = ["kms:Describe*", "kms:Enable*", "kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [aws_kms_key.parcels.arn]
    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${data.aws_caller_identity.self.account_id}:root"]
    }
  }
}

resource "aws_kms_key" "parcels" {
  description             = "Labels and parcels"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_kms_key_policy" "parcels" {
  key_id = aws_kms_key.parcels.id
  policy = data.aws_iam_policy_document.key.json
}

resource "aws_s3_bucket" "labels" {
  bucket = "parcel-tracker-labels"
}

resource "aws_s3_bucket_public_access_block" "labels" {
  bucket                  = aws_s3_bucket.labels.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "labels" {
  bucket = aws_s3_bucket.labels.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.parcels.arn
    }
  }
}

resource "aws_s3_bucket_versioning" "labels" {
  bucket = aws_s3_bucket.labels.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_logging" "labels" {
  bucket        = aws_s3_bucket.labels.id
  target_bucket = "company-access-logs"
  target_prefix = "parcel-tracker/"
}

resource "aws_s3_bucket_lifecycle_configuration" "labels" {
  bucket = aws_s3_bucket.labels.id
  rule {
    id     = "labels are kept for a year"
    status = "Enabled"
    filter {}
    expiration {
      days = 365
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_s3_bucket_notification" "labels" {
  bucket      = aws_s3_bucket.labels.id
  eventbridge = true
}

resource "aws_security_group" "depot" {
  name        = "depot"
  description = "The depot's server: reached from the depot only"
  vpc_id      = var.network_id

  ingress {
    description = "SSH from the depot"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = [var.depot_network]
  }

  egress {
    description = "HTTPS to the carrier's network"
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["198.51.100.0/24"]
  }
}

resource "aws_network_interface" "depot" {
  subnet_id       = var.subnet_id
  security_groups = [aws_security_group.depot.id]
}

resource "aws_ebs_volume" "parcels" {
  availability_zone = "eu-central-1a"
  size              = 20
  encrypted         = true
  kms_key_id        = aws_kms_key.parcels.arn
}
