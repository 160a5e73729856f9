# Where the scanned labels are kept, and who may reach the depot's server.

resource "aws_s3_bucket" "labels" {
  bucket = "parcel-tracker-labels"
}

resource "aws_s3_bucket_acl" "labels" {
  bucket = aws_s3_bucket.labels.id
  acl    = "public-read"
}

resource "aws_security_group" "depot" {
  name = "depot"

  ingress {
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_ebs_volume" "parcels" {
  availability_zone = "eu-central-1a"
  size              = 20
}
