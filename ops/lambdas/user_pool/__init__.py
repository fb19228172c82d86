"""The Cognito user pool: read, written, its users given rows."""
