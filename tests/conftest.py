"""Fixtures by topic; warnings are errors (pyproject.toml)."""

pytest_plugins = [
    "tests.fix_groups",
    "tests.fix_quick",
    "tests.fix_isolation",
    "tests.fix_suppliers",
    "tests.fix_cli",
    "tests.fix_echo",
    "tests.fix_proxy",
    "tests.fix_aws",
    "tests.fix_door",
    "tests.fix_app",
    "tests.fix_bastion",
    "tests.fix_lambda",
    "tests.fix_people",
    "tests.fix_iam",
    "tests.fix_ssm",
    "tests.fix_roles",
    "tests.fix_access",
]
