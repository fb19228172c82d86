"""A fresh database for each test of an application: a plugin for pytest.

`pytest_plugins = ["ops.testing"]` where the suite's own folder is on Python's path. In a repository that has adopted the suite
the folder `plugin/` alone is put there (docs/testing.md), and the plugin is called `inv_testing`.
"""

pytest_plugins = ["ops.testing.plugin.inv_testing"]
