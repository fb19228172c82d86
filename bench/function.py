"""Building and deploying the function, when nothing has changed, beside SAM."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from bench import peers
from bench.measure import Command, Comparison, Unavailable
from bench.place import Bench, output
from bench.rds import calls
from ops.console import say
from ops.errors import Problem
from ops.lambdas.package import function_code

PYTHON = ".".join(platform.python_version_tuple()[:2])
"""The function's Python for both sides: SAM asks for one that is on the PATH, and this one is."""
OURS = {"INVOKE_LAMBDA_PYTHON": PYTHON}
BUILD = "sam build --cached"
DEPLOY = (
    "sam deploy --stack-name bench --s3-bucket bench --capabilities CAPABILITY_IAM --no-confirm-changeset "
    "--no-fail-on-empty-changeset --no-progressbar"
)
LAYER = f"""
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Libraries:
    Type: AWS::Serverless::LayerVersion
    Properties:
      ContentUri: libraries
      CompatibleRuntimes: [python{PYTHON}]
    Metadata:
      BuildMethod: python{PYTHON}
"""
FUNCTION = f"""
  Function:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Handler: {function_code.HANDLER}
      Runtime: python{PYTHON}
      Role: arn:aws:iam::123456789012:role/bench
      Layers: [!Ref Libraries]
"""
BUCKET = "import boto3; boto3.client('s3').create_bucket(Bucket='bench', CreateBucketConfiguration={{'LocationConstraint': '{}'}})"


def layer(at: Bench) -> Comparison:
    """The layer once more, from the same requirements."""
    beside: dict[str, Command] = {}
    versions: dict[str, str] = {}
    try:
        folder, env = project(at, "layer", LAYER, versions)
        beside = {call: Command(call.split(), folder, env) for call in (BUILD, "sam build")}
        output(beside[BUILD])
    except (Unavailable, Problem) as reason:
        say(f"left out beside layer: {reason}")
        beside = {}
    return Comparison(
        "inv lambda.layer, unchanged",
        at.inv("lambda.layer", env=OURS),
        beside,
        {BUILD: 0.5},
        note=(
            "Without Docker, for the Python that runs both. The task's layer is a zip file of which every library is known to "
            "be for that Python, processor and C library; SAM with --cached copies the folder that it has kept."
        ),
        versions=versions,
    )


def deploy(at: Bench) -> Comparison:
    """The function once more, with all that it needs."""
    ready = {**at.sandbox, **OURS}
    output(at.inv("db.setup", "-t", "prod", "--no-seed", "--force", "--confirm", "cruddur", env=ready))
    output(at.inv("lambda.deploy", env=ready))
    beside: dict[str, Command] = {}
    versions: dict[str, str] = {}
    try:
        beside[f"{BUILD}, sam deploy"] = by_sam(at, versions)
    except (Unavailable, Problem) as reason:
        say(f"left out beside deploy: {reason}")
    return Comparison(
        "inv lambda.deploy, unchanged",
        at.inv("lambda.deploy", env=ready),
        beside,
        dict.fromkeys(beside, 0.5),
        note=(
            "Both at the sandbox. The task compares the layer, the code, the role and its policies, the network, the logs, "
            "the database's login and the function itself with what is there; SAM asks for its artifacts and for a change "
            "of the stack, which is empty."
        ),
        probe=lambda: calls(at),
        versions=versions,
    )


def by_sam(at: Bench, versions: dict[str, str]) -> Command:
    """Deploy the same function and layer as a stack, and return what does it again."""
    folder, env = project(at, "deploy", LAYER + FUNCTION, versions)
    shutil.copytree(
        function_code.SOURCE, folder / "code" / function_code.SOURCE.name, ignore=shutil.ignore_patterns("__pycache__")
    )
    # By this name moto knows that a template in S3 is its own
    env |= at.sandbox | {"AWS_ENDPOINT_URL": at.sandbox["AWS_ENDPOINT_URL"].replace("127.0.0.1", "localhost")}
    make = BUCKET.format(at.sandbox["AWS_REGION"])
    output(Command([sys.executable, "-c", make], folder, env))
    both = Command(["bash", "-c", f"set -e; {BUILD}; {DEPLOY}"], folder, env)
    output(both)
    return both


def project(at: Bench, name: str, template: str, versions: dict[str, str]) -> tuple[Path, dict[str, str]]:
    """Return a folder with what SAM builds from, and SAM's variables."""
    programs = peers.installed(at.settings, "sam")
    versions["SAM CLI"] = peers.version(programs, "aws-sam-cli")
    folder = at.sub(f"sam-{name}")
    (folder / "template.yaml").write_text(template, encoding="utf-8")
    (folder / "libraries").mkdir()
    shutil.copy(function_code.REQUIREMENTS, folder / "libraries")
    return folder, {"PATH": f"{programs}:/usr/bin:/bin", "SAM_CLI_TELEMETRY": "0", "__SAM_CLI_APP_DIR": str(folder)}
