"""Fixtures by topic; warnings are errors (pyproject.toml)."""

from __future__ import annotations

import pytest

TOPICS = [
    "tests.fix_groups",
    "tests.fix_quick",
    "tests.fix_nightly",
    "tests.fix_spread",
    "tests.fix_passed",
    "tests.fix_isolation",
    "tests.fix_memory",
    "tests.fix_suppliers",
    "tests.fix_cli",
    "tests.fix_echo",
    "tests.fix_proxy",
    "tests.fix_aws",
    "tests.fix_door",
    "tests.fix_app",
    "tests.fix_browser",
    "tests.fix_bastion",
    "tests.fix_lambda",
    "tests.fix_people",
    "tests.fix_iam",
    "tests.fix_ssm",
    "tests.fix_roles",
    "tests.fix_access",
]


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Take them by their module: for one that `pytest_plugins` names pytest reads first what each installed package offers."""
    for topic in TOPICS:
        pluginmanager.import_plugin(topic)
