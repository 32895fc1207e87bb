"""Push an image to Amazon ECR: log the engine in, tag, push. Used by ``./build.sh push``, after the smoke test.

The settings are in ``deploy/test.env`` and ``deploy/prod.env``; credentials come from AWS's default chain.
"""

from __future__ import annotations

import argparse
import base64
import shlex
import subprocess
import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from dotenv import dotenv_values

NEEDED = ("AWS_REGION", "ECR_REPOSITORY")


def settings(path: Path) -> dict[str, str]:
    """Return what the file says; ends the program if something is missing."""
    found = {name: value for name, value in dotenv_values(path).items() if value}
    missing = [name for name in NEEDED if name not in found]
    if missing:
        sys.exit(f"{path}: {' and '.join(missing)} must be set")
    return found


def registry(region: str, repository: str, profile: str | None, endpoint: str | None) -> tuple[str, str, str]:
    """Return the repository's address, and user and password for its registry; ends the program if there is none."""
    client = boto3.session.Session(profile_name=profile).client("ecr", region_name=region, endpoint_url=endpoint)
    try:
        found = client.describe_repositories(repositoryNames=[repository])["repositories"][0]
        token = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "RepositoryNotFoundException":
            sys.exit(
                f"there is no repository {repository} in {region}: aws ecr create-repository --region {region} "
                f"--repository-name {repository}"
            )
        sys.exit(f"ECR refused: {error.response['Error']['Code']}: {error.response['Error']['Message']}")
    except BotoCoreError as error:
        sys.exit(f"ECR cannot be asked: {error}")
    user, _, password = base64.b64decode(token).decode().partition(":")
    return found["repositoryUri"], user, password


def main() -> None:
    """Push under each of the tags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("tags", nargs="+")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--engine", default="docker", help="program and options that come before its command")
    arguments = parser.parse_args()
    said, engine = settings(arguments.settings), shlex.split(arguments.engine)
    uri, user, password = registry(
        said["AWS_REGION"], said["ECR_REPOSITORY"], said.get("AWS_PROFILE"), said.get("ECR_ENDPOINT_URL")
    )
    login = [*engine, "login", "--username", user, "--password-stdin", uri.partition("/")[0]]
    subprocess.run(login, input=password, text=True, check=True)
    for tag in arguments.tags:
        subprocess.run([*engine, "tag", arguments.image, f"{uri}:{tag}"], check=True)
        subprocess.run([*engine, "push", f"{uri}:{tag}"], check=True)
        print(f"pushed {uri}:{tag}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failure:
        sys.exit(f"{failure.cmd[0]} {failure.cmd[1]} ended with status {failure.returncode}")
