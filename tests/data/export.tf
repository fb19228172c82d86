# Made by inv rds.export from what AWS has.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.15"
    }
  }
}

provider "aws" {
  region              = "ca-central-1"
  allowed_account_ids = ["123456789012"]
}

variable "master_password" {
  description = "The master user's password. Left empty, Terraform leaves it as it is: it is ignored in every plan."
  type        = string
  sensitive   = true
  default     = ""
}

variable "function_api_key" {
  description = "API_KEY of the function. Left empty, Terraform leaves it as it is: the environment is ignored in every plan."
  type        = string
  sensitive   = true
  default     = ""
}

variable "function_connection_url" {
  description = "CONNECTION_URL of the function. Left empty, Terraform leaves it as it is: the environment is ignored in every plan."
  type        = string
  sensitive   = true
  default     = ""
}

import {
  to = aws_security_group.database
  id = "sg-1"
}

resource "aws_security_group" "database" {
  name        = "door"
  description = "door"
  vpc_id      = "vpc-1"
  tags = {
    ManagedBy      = "inv"
    Project        = "cruddur"
    "inv:instance" = "cruddur-db-instance"
  }
}

import {
  to = aws_security_group.sign_up
  id = "sg-2"
}

resource "aws_security_group" "sign_up" {
  name        = "lambda-cruddur-post-confirmation"
  description = "The function cruddur-post-confirmation (inv lambda.deploy)"
  vpc_id      = "vpc-1"
  tags = {
    ManagedBy      = "inv"
    Project        = "cruddur"
    "inv:function" = "cruddur-post-confirmation"
  }
}

import {
  to = aws_security_group.proxy
  id = "sg-3"
}

resource "aws_security_group" "proxy" {
  name        = "proxy-cruddur-db-instance"
  description = "Proxy of the RDS instance cruddur-db-instance (inv rds.proxy)"
  vpc_id      = "vpc-1"
  tags = {
    ManagedBy   = "inv"
    Project     = "cruddur"
    "inv:proxy" = "cruddur-db-instance"
  }
}

import {
  to = aws_vpc_security_group_ingress_rule.database_sgr_1
  id = "sgr-1"
}

resource "aws_vpc_security_group_ingress_rule" "database_sgr_1" {
  security_group_id = aws_security_group.database.id
  cidr_ipv4         = "9.9.9.0/24"
  ip_protocol       = "tcp"
  from_port         = 5432
  to_port           = 5432
  description       = "office"
}

import {
  to = aws_vpc_security_group_ingress_rule.database_sgr_2
  id = "sgr-2"
}

resource "aws_vpc_security_group_ingress_rule" "database_sgr_2" {
  security_group_id            = aws_security_group.database.id
  referenced_security_group_id = aws_security_group.proxy.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  tags = {
    ManagedBy   = "inv"
    Project     = "cruddur"
    "inv:proxy" = "cruddur-db-instance"
  }
}

import {
  to = aws_vpc_security_group_ingress_rule.database_sgr_3
  id = "sgr-3"
}

resource "aws_vpc_security_group_ingress_rule" "database_sgr_3" {
  security_group_id            = aws_security_group.database.id
  referenced_security_group_id = aws_security_group.sign_up.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  tags = {
    ManagedBy      = "inv"
    Project        = "cruddur"
    "inv:function" = "cruddur-post-confirmation"
  }
}

import {
  to = aws_vpc_security_group_egress_rule.database_sgr_4
  id = "sgr-4"
}

resource "aws_vpc_security_group_egress_rule" "database_sgr_4" {
  security_group_id = aws_security_group.database.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

import {
  to = aws_vpc_security_group_egress_rule.sign_up_sgr_5
  id = "sgr-5"
}

resource "aws_vpc_security_group_egress_rule" "sign_up_sgr_5" {
  security_group_id = aws_security_group.sign_up.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

import {
  to = aws_vpc_security_group_ingress_rule.proxy_sgr_6
  id = "sgr-6"
}

resource "aws_vpc_security_group_ingress_rule" "proxy_sgr_6" {
  security_group_id            = aws_security_group.proxy.id
  referenced_security_group_id = aws_security_group.sign_up.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  tags = {
    ManagedBy   = "inv"
    Project     = "cruddur"
    "inv:proxy" = "cruddur-db-instance"
  }
}

import {
  to = aws_vpc_security_group_egress_rule.proxy_sgr_7
  id = "sgr-7"
}

resource "aws_vpc_security_group_egress_rule" "proxy_sgr_7" {
  security_group_id = aws_security_group.proxy.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

import {
  to = aws_db_instance.database
  id = "cruddur-db-instance"
}

resource "aws_db_instance" "database" {
  identifier                          = "cruddur-db-instance"
  instance_class                      = "db.t4g.micro"
  engine                              = "postgres"
  engine_version                      = "9"
  username                            = "postgres"
  password                            = var.master_password
  port                                = 5432
  allocated_storage                   = 20
  storage_type                        = "gp2"
  storage_encrypted                   = false
  multi_az                            = false
  availability_zone                   = "ca-central-1a"
  parameter_group_name                = "default.postgres9.3"
  vpc_security_group_ids              = [aws_security_group.database.id]
  publicly_accessible                 = false
  ca_cert_identifier                  = "rds-ca-default"
  backup_retention_period             = 1
  backup_window                       = "13:14-13:44"
  maintenance_window                  = "wed:06:38-wed:07:08"
  auto_minor_version_upgrade          = true
  copy_tags_to_snapshot               = false
  deletion_protection                 = false
  iam_database_authentication_enabled = false
  skip_final_snapshot                 = false
  final_snapshot_identifier           = "cruddur-db-instance-final"
  tags = {
    ManagedBy = "inv"
    Project   = "cruddur"
  }

  lifecycle {
    prevent_destroy = true
    ignore_changes  = [password]
  }
}

import {
  to = aws_iam_role.sign_up
  id = "cruddur-post-confirmation"
}

resource "aws_iam_role" "sign_up" {
  name        = "cruddur-post-confirmation"
  description = "Role of the function cruddur-post-confirmation (inv lambda.deploy)"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Service = "lambda.amazonaws.com"
        }
        Action = "sts:AssumeRole"
      },
    ]
  })
  tags = {
    ManagedBy = "inv"
    Project   = "cruddur"
  }
}

import {
  to = aws_iam_role_policy.sign_up_vpc_access
  id = "cruddur-post-confirmation:vpc-access"
}

resource "aws_iam_role_policy" "sign_up_vpc_access" {
  role = aws_iam_role.sign_up.name
  name = "vpc-access"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "InterfacesInTheVpc"
        Effect   = "Allow"
        Action   = ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:AttachNetworkInterface", "ec2:DescribeInstances"]
        Resource = "*"
      },
      {
        Sid      = "WhatAwsNeedsBeyond"
        Effect   = "Allow"
        Action   = ["ec2:DescribeSubnets", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"]
        Resource = "*"
      },
    ]
  })
}

import {
  to = aws_iam_role_policy_attachment.sign_up_awslambdabasicexecutionrole
  id = "cruddur-post-confirmation/arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

resource "aws_iam_role_policy_attachment" "sign_up_awslambdabasicexecutionrole" {
  role       = aws_iam_role.sign_up.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

import {
  to = aws_lambda_layer_version.libraries
  id = "arn:aws:lambda:ca-central-1:123456789012:layer:cruddur-post-confirmation-psycopg:1"
}

# Like the function's code: aws lambda get-layer-version-by-arn --query Content.Location. Its content has this number for ever.
resource "aws_lambda_layer_version" "libraries" {
  layer_name               = "cruddur-post-confirmation-psycopg"
  description              = "psycopg for python3.13 x86_64, sha256:…, compiled"
  filename                 = "layer.zip"
  compatible_runtimes      = ["python3.13"]
  compatible_architectures = ["x86_64"]
  skip_destroy             = true

  lifecycle {
    ignore_changes = [filename, source_code_hash, skip_destroy]
  }
}

import {
  to = aws_lambda_function.sign_up
  id = "cruddur-post-confirmation"
}

# AWS holds the code: aws lambda get-function --query Code.Location tells from where it is downloaded. A plan does not look at
# the file; it is needed where Terraform makes the function anew.
resource "aws_lambda_function" "sign_up" {
  function_name = "cruddur-post-confirmation"
  description   = "Stores confirmed Cognito sign-ups in Postgres (inv lambda.deploy)"
  role          = aws_iam_role.sign_up.arn
  filename      = "function.zip"
  runtime       = "python3.13"
  handler       = "post_confirmation.handler.handler"
  architectures = ["x86_64"]
  layers        = [aws_lambda_layer_version.libraries.arn]
  timeout       = 5
  memory_size   = 512
  tags = {
    ManagedBy = "inv"
    Project   = "cruddur"
  }

  vpc_config {
    subnet_ids         = ["subnet-1", "subnet-2", "subnet-3"]
    security_group_ids = [aws_security_group.sign_up.id]
  }

  snap_start {
    apply_on = "PublishedVersions"
  }

  environment {
    variables = {
      API_KEY        = var.function_api_key
      CONNECTION_URL = var.function_connection_url
    }
  }

  lifecycle {
    ignore_changes = [filename, source_code_hash, environment]
  }
}

import {
  to = aws_lambda_alias.live
  id = "cruddur-post-confirmation/live"
}

# Each change of the function needs a version of its own, which its argument publish makes; then this is to lead there.
resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.sign_up.function_name
  function_version = "2"
  description      = "inv lambda.deploy: what user pools call"
}

import {
  to = aws_lambda_permission.inv_ca_central_1_1
  id = "cruddur-post-confirmation:live/inv-ca-central-1_1"
}

resource "aws_lambda_permission" "inv_ca_central_1_1" {
  statement_id   = "inv-ca-central-1_1"
  function_name  = aws_lambda_function.sign_up.function_name
  qualifier      = aws_lambda_alias.live.name
  action         = "lambda:InvokeFunction"
  principal      = "cognito-idp.amazonaws.com"
  source_account = "123456789012"
  source_arn     = "arn:aws:cognito-idp:ca-central-1:123456789012:userpool/ca-central-1_1"
}

import {
  to = aws_cloudwatch_log_group.sign_up
  id = "/aws/lambda/cruddur-post-confirmation"
}

resource "aws_cloudwatch_log_group" "sign_up" {
  name              = "/aws/lambda/cruddur-post-confirmation"
  retention_in_days = 14
  tags = {
    ManagedBy = "inv"
    Project   = "cruddur"
  }
}

import {
  to = aws_iam_role.proxy
  id = "inv-proxy-cruddur-db-instance-ca-central-1"
}

resource "aws_iam_role" "proxy" {
  name        = "inv-proxy-cruddur-db-instance-ca-central-1"
  description = "Proxy of the RDS instance cruddur-db-instance (inv rds.proxy)"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Service = "rds.amazonaws.com"
        }
        Action = "sts:AssumeRole"
      },
    ]
  })
  tags = {
    ManagedBy   = "inv"
    Project     = "cruddur"
    "inv:proxy" = "cruddur-db-instance"
  }
}

import {
  to = aws_iam_role_policy.proxy_database_login
  id = "inv-proxy-cruddur-db-instance-ca-central-1:database-login"
}

resource "aws_iam_role_policy" "proxy_database_login" {
  role = aws_iam_role.proxy.name
  name = "database-login"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = ["arn:aws:secretsmanager:ca-central-1:123456789012:secret:inv-proxy-cruddur-db-instance-…"]
      },
    ]
  })
}

import {
  to = aws_secretsmanager_secret.proxy
  id = "arn:aws:secretsmanager:ca-central-1:123456789012:secret:inv-proxy-cruddur-db-instance-…"
}

# Its value stays in Secrets Manager: the login of the function, which inv lambda.deploy keeps.
resource "aws_secretsmanager_secret" "proxy" {
  name        = "inv-proxy-cruddur-db-instance"
  description = "Login of lambda_signup for the proxy of cruddur-db-instance (inv rds.proxy)"
  tags = {
    ManagedBy   = "inv"
    Project     = "cruddur"
    "inv:proxy" = "cruddur-db-instance"
  }
}

import {
  to = aws_db_proxy.proxy
  id = "cruddur-db-instance-proxy"
}

resource "aws_db_proxy" "proxy" {
  name                   = "cruddur-db-instance-proxy"
  engine_family          = "POSTGRESQL"
  role_arn               = aws_iam_role.proxy.arn
  vpc_subnet_ids         = ["subnet-1", "subnet-2", "subnet-3"]
  vpc_security_group_ids = [aws_security_group.proxy.id]
  require_tls            = true
  idle_client_timeout    = 1800
  debug_logging          = false
  tags = {
    ManagedBy   = "inv"
    Project     = "cruddur"
    "inv:proxy" = "cruddur-db-instance"
  }

  auth {
    auth_scheme               = "SECRETS"
    iam_auth                  = "DISABLED"
    client_password_auth_type = "POSTGRES_SCRAM_SHA_256"
    secret_arn                = aws_secretsmanager_secret.proxy.arn
  }
}

import {
  to = aws_db_proxy_default_target_group.proxy
  id = "cruddur-db-instance-proxy"
}

resource "aws_db_proxy_default_target_group" "proxy" {
  db_proxy_name = aws_db_proxy.proxy.name

  connection_pool_config {
    connection_borrow_timeout    = 120
    max_connections_percent      = 100
    max_idle_connections_percent = 50
  }
}

import {
  to = aws_db_proxy_target.proxy
  id = "cruddur-db-instance-proxy/default/RDS_INSTANCE/cruddur-db-instance"
}

resource "aws_db_proxy_target" "proxy" {
  db_proxy_name          = aws_db_proxy.proxy.name
  target_group_name      = aws_db_proxy_default_target_group.proxy.name
  db_instance_identifier = aws_db_instance.database.identifier
}

import {
  to = aws_scheduler_schedule_group.schedule
  id = "cruddur-db-instance"
}

resource "aws_scheduler_schedule_group" "schedule" {
  name = "cruddur-db-instance"
  tags = {
    ManagedBy      = "inv"
    Project        = "cruddur"
    "inv:instance" = "cruddur-db-instance"
  }
}

import {
  to = aws_iam_role.schedule
  id = "cruddur-db-instance-schedule-ca-central-1"
}

resource "aws_iam_role" "schedule" {
  name        = "cruddur-db-instance-schedule-ca-central-1"
  description = "Stops and starts the instance cruddur-db-instance (inv rds.schedule)"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Service = "scheduler.amazonaws.com"
        }
        Action = "sts:AssumeRole"
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = "123456789012"
            "aws:SourceArn"     = "arn:aws:scheduler:ca-central-1:123456789012:schedule-group/cruddur-db-instance"
          }
        }
      },
    ]
  })
  tags = {
    ManagedBy      = "inv"
    Project        = "cruddur"
    "inv:instance" = "cruddur-db-instance"
  }
}

import {
  to = aws_iam_role_policy.schedule_stop_and_start
  id = "cruddur-db-instance-schedule-ca-central-1:stop-and-start"
}

resource "aws_iam_role_policy" "schedule_stop_and_start" {
  role = aws_iam_role.schedule.name
  name = "stop-and-start"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["rds:StopDBInstance", "rds:StartDBInstance"]
        Resource = "arn:aws:rds:ca-central-1:123456789012:db:cruddur-db-instance"
      },
    ]
  })
}

import {
  to = aws_scheduler_schedule.stop
  id = "cruddur-db-instance/stop"
}

resource "aws_scheduler_schedule" "stop" {
  name                         = "stop"
  group_name                   = aws_scheduler_schedule_group.schedule.name
  description                  = "stop cruddur-db-instance (inv rds.schedule)"
  schedule_expression          = "cron(0 20 ? * MON,TUE,WED,THU,FRI *)"
  schedule_expression_timezone = "Europe/Berlin"
  state                        = "ENABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = "arn:aws:scheduler:::aws-sdk:rds:stopDBInstance"
    role_arn = aws_iam_role.schedule.arn
    input = jsonencode({
      DbInstanceIdentifier = "cruddur-db-instance"
    })

    retry_policy {
      maximum_event_age_in_seconds = 900
      maximum_retry_attempts       = 5
    }
  }
}

import {
  to = aws_scheduler_schedule.start
  id = "cruddur-db-instance/start"
}

resource "aws_scheduler_schedule" "start" {
  name                         = "start"
  group_name                   = aws_scheduler_schedule_group.schedule.name
  description                  = "start cruddur-db-instance (inv rds.schedule)"
  schedule_expression          = "cron(0 8 ? * MON,TUE,WED,THU,FRI *)"
  schedule_expression_timezone = "Europe/Berlin"
  state                        = "ENABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = "arn:aws:scheduler:::aws-sdk:rds:startDBInstance"
    role_arn = aws_iam_role.schedule.arn
    input = jsonencode({
      DbInstanceIdentifier = "cruddur-db-instance"
    })

    retry_policy {
      maximum_event_age_in_seconds = 900
      maximum_retry_attempts       = 5
    }
  }
}
