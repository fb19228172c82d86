"""The function on this machine: the packaged zip and layer under AWS's own runtime client.

The client, awslambdaric, is fetched for the Python that runs the function: the
suite's own environment could hold it for its own Python only.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.paths import hand_over_whole
from config.settings import Settings
from config.targets import parse
from ops.console import say
from ops.lambdas.package import function_code, interpreters, layer, runtimes, uv
from ops.lambdas.package.archive import Artifact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.lambdas.runtime_api import Answer

CLIENT = "awslambdaric==4.2.2"
COGNITO = 5.0
"""Seconds that Cognito waits for a trigger; the start of a sandbox counts."""


@dataclass(frozen=True)
class Parts:
    """What a sandbox is made of."""

    function: Artifact
    layer: Artifact
    client: Path
    """The folder with awslambdaric, for that interpreter."""
    interpreter: Path
    name: str
    """The function's."""
    memory_mb: int
    seconds: float
    """For an answer: Cognito's, or the function's own where those are fewer."""


def invoke(settings: Settings, python: str, architecture: str, event: Any, environment: Mapping[str, str]) -> Answer:
    """Run one event through the function as it would be deployed, in a new sandbox.

    `environment` is the function's own, with its CONNECTION_URL. Raises
    `Problem` where the function fails, ends, or does not answer in the time that it has.
    """
    from ops.lambdas.runtime_api import Sandbox

    rds = parse(environment["CONNECTION_URL"], "CONNECTION_URL", "").rds
    with closing(Sandbox(prepare(settings, python, architecture, rds=rds), environment)) as sandbox:
        return sandbox.invoke(event)


def prepare(settings: Settings, python: str, architecture: str, *, rds: bool = True) -> Parts:
    """Build the zip files and fetch the client, all into .local/lambda; RDS's roots where `rds` is to be reached.

    Where this machine cannot run the target, the layer is built for the running
    Python instead, and that is said; a target that Lambda has not is `Misconfigured`.
    """
    runtimes.find(python, architecture)
    folder = function_code.folder(settings)
    function = function_code.build(function_code.certificates(settings) if rds else None, folder)
    interpreter = interpreters.find(python)
    if interpreter and interpreters.fits(architecture):
        built = layer.build(python, architecture, folder)
    else:
        lacks = f"has no Python {python}" if not interpreter else f"is not Linux on {architecture}"
        interpreter, python = interpreters.running(), interpreters.RUNNING
        say(f"note: this machine {lacks}: the layer is built for its own Python {python} instead")
        built = layer.build_here(folder)
    lam, fetched = settings.lambdas, client(folder, interpreter, python)
    return Parts(function, built, fetched, interpreter, lam.function, lam.memory_mb, min(COGNITO, lam.timeout_seconds))


def client(folder: Path, interpreter: Path, python: str) -> Path:
    """Return the folder that holds AWS's runtime client for an interpreter, filled where it is not here yet."""
    path = folder / f"{CLIENT}-{python}"
    if not path.is_dir():
        made = Path(tempfile.mkdtemp(dir=folder, prefix="client."))
        try:
            uv.install(made, CLIENT, python=interpreter, what=f"AWS's runtime client for Python {python}")
            hand_over_whole(made)
            made.rename(path)
        except OSError:
            if not path.is_dir():  # another run was first
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return path
