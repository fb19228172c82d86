"""The version of the suite, which doctor and adopt say; `inv --version` is invoke's own."""

VERSION = "1.0.0"
