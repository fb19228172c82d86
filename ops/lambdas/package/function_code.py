"""The function's zip file: its modules, and the certificates that RDS is checked against, and a proxy of RDS's."""

from __future__ import annotations

from pathlib import Path

from config.paths import SUITE, local_dir, own_folder
from config.settings import Settings
from ops.errors import Misconfigured, Problem
from ops.lambdas.package.archive import Artifact, write
from ops.rds import ca

SOURCE = SUITE / "functions" / "post_confirmation"
HANDLER = "post_confirmation.handler.handler"
"""What Lambda calls: the function's folder is a package in the zip file as it is here."""
REQUIREMENTS = SOURCE / "requirements.txt"
EVENTS = SOURCE / "events"
"""Sample events, as JSON files."""


def folder(settings: Settings) -> Path:
    """Return where the built zip files lie: .local/lambda."""
    return own_folder(local_dir(settings.root) / "lambda")


def certificates(settings: Settings) -> Path:
    """Return the file of RDS's roots that the function is to trust, fetched where it is not here yet."""
    variable = settings.focus.names.sslrootcert
    named = settings.vars.get(variable)
    if named and named != "system":  # libpq's word for the store of the machine, which holds no root of RDS
        if not Path(named).is_file():
            raise Misconfigured(f"{variable}: there is no file {named}")
        return Path(named)
    path = ca.bundle(settings)
    if not path.exists():
        ca.fetch(settings)
    return path


def build(certificates: Path | None, to: Path) -> Artifact:
    """Build function.zip in the folder `to`; the same content gives the same bytes.

    Without certificates it is for a database that is not on RDS.
    """
    modules = sorted(SOURCE.glob("*.py"))
    if not modules:
        raise Problem(f"{SOURCE} holds no function: it comes with the suite's own repository")
    files = {f"{SOURCE.name}/{module.name}": module.read_bytes() for module in modules}
    if certificates:
        files[f"{SOURCE.name}/rds-ca.pem"] = ca.with_public_roots(certificates.read_text()).encode()
    return write(files, to / "function.zip")
