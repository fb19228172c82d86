"""The one place that reads the environment, .env, invoke.yaml and paths."""
