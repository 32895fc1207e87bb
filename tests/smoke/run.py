"""Ask an image the canned requests, as Lambda would, and compare its answers: ``./build.sh smoke``.

The image gets the handlers by the line that the documentation gives (``COPY handlers/ /var/task/``), is started with a
Runtime API of ours in place of Lambda's, and has to answer as written down. Its command line has to answer as well.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.smoke.canned import HANDLERS, REQUESTS, expected, request, without_places
from tests.support.lambda_runtime import RuntimeApi, runtime_api

_RIGHT, _WRONG = "ok  ", "FAIL"


def derived(engine: Sequence[str], image: str, build: Sequence[str]) -> str:
    """Build an image with the handlers; returns its tag."""
    tag = f"{image}-smoke"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(f"FROM {image}\nCOPY handlers/ /var/task/\n", encoding="utf-8")
        subprocess.run(["cp", "-r", str(HANDLERS), folder], check=True)
        subprocess.run([*engine, "build", *build, "--tag", tag, folder], check=True, stdout=subprocess.DEVNULL)
    return tag


@contextmanager
def running(engine: Sequence[str], image: str, options: Sequence[str]) -> Iterator[RuntimeApi]:
    """The image as a function: with the Runtime API's address, on the host's network."""
    with runtime_api() as api:
        settings = {
            "AWS_LAMBDA_RUNTIME_API": api.url,
            "AWS_LAMBDA_FUNCTION_NAME": "datalake",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        }
        variables = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
        name = f"datalake-smoke-{api.url.rpartition(':')[2]}"
        command = [*engine, "run", "--rm", "--name", name, "--network", "host", *options, *variables, image]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if not api.wait_until_asked():
                sys.exit("smoke: the function did not ask for an event within a minute")
            if api.start_error is not None:
                sys.exit(f"smoke: the function cannot start: {api.start_error}")
            yield api
        finally:
            # The first process of a container does not end by SIGTERM.
            subprocess.run([*engine, "rm", "--force", name], check=False, capture_output=True)
            process.wait(30)


def check(api: RuntimeApi) -> int:
    """Ask everything; returns how many answers were wrong."""
    wrong = 0
    for name in REQUESTS:
        begun = time.monotonic()
        answer = api.invoke(request(name))
        good = not answer.failed and without_places(answer.body) == expected(name)
        print(f"{_RIGHT if good else _WRONG} {name} ({(time.monotonic() - begun) * 1000:.0f} ms)")
        if not good:
            wrong += 1
            print(f"     asked for {expected(name)}\n     answered  {answer.body}")
    return wrong


def main() -> None:
    """Build, start, ask, compare; status 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--engine", default="docker", help="program and options that come before its command")
    parser.add_argument("--build-options", default="", help="of the engine's build")
    parser.add_argument("--run-options", default="", help="of the engine's run")
    arguments = parser.parse_args()
    engine, run = shlex.split(arguments.engine), shlex.split(arguments.run_options)
    command = [*engine, "run", "--rm", *run, arguments.image, "--version"]
    version = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    print(f"{_RIGHT} the command: {version}")
    tag = derived(engine, arguments.image, shlex.split(arguments.build_options))
    with running(engine, tag, run) as api:
        wrong = check(api)
    print(f"smoke: {len(REQUESTS) - wrong} of {len(REQUESTS)} canned requests answered as written down")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
