#!/usr/bin/env bash
# The one runner of this project. Works from any directory; needs Python 3.11 or newer with pip, nothing else.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'TEXT'
usage: ./build.sh COMMAND [arguments]

  quickstart            run the example in example_configs/quickstart on a folder, then export it
  test [arguments]      run the tests; arguments go to pytest
  test --engines [...]  with Ray and Spark (770 MB more, and Java 17 or newer); ENGINES=1 does the same for any command
  soak [seconds [seed]] simulate writers, merges, annotators and readers under faults for so long (default: 600)
  soak --processes [seconds [seed]]   kill real processes at work on a folder, then on S3 (default: 120 each)
  soak --annotate [seconds [seed]]    kill workers that pay for each row, on a model service full of trouble (default: 600)
  soak --crashes [examples [seed]]    let everything die anywhere, so often for each property (default: 2000)
  conformance [store..] try real S3 servers: what each honours, as a table (default: all that can be found)
  check                 format, lint, types, import rules, spelling; changes nothing
  fix                   format, and repair what the linter can repair
  bench [name [args]]   run all benchmarks, or one; arguments go to it
  image [test|prod]     build the container image datalake:test (or datalake:prod); further arguments go to the engine
  smoke [test|prod]     start that image as a Lambda function and compare its answers to canned requests
  push test|prod        smoke, then push it to the repository in Amazon ECR that deploy/test.env (or prod.env) names
  lock [--upgrade]      write requirements.lock and requirements-dev.lock from pyproject.toml

PYTHON=/path/to/python ./build.sh ... chooses the interpreter (default: python3).
ENGINE=podman          ./build.sh image, smoke, push: the container engine (default: docker or podman, whichever runs).
TARGET=spark           ./build.sh image, smoke, push: the image with Java and Spark, datalake:test-spark (default: lambda).
BUILD_OPTIONS, RUN_OPTIONS   what the engine's build and run need besides, on machines that need it.
VENV=/path/to/folder   ./build.sh ... chooses where the environment goes (default: .venv, or .venv-dev for all but quickstart).
TEXT
}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "build.sh: $*"
    exit 1
}

# ------------------------------------------------------------------------------------------------ environments

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || die "PYTHON=$PYTHON: no such program"
        is_new_enough "$PYTHON" || die "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1); Python 3.11 or newer is needed"
        return
    fi
    for PYTHON in python3 python3.13 python3.12 python3.11; do
        if is_new_enough "$PYTHON"; then return; fi
    done
    die "Python 3.11 or newer is needed and python3 is $(python3 --version 2>&1 || true); say where one is with PYTHON=/path/to/python"
}

# What an environment was made from. A change of any of it makes a new one.
fingerprint() {
    "$PYTHON" - "$@" <<'CODE'
import hashlib, pathlib, sys
digest = hashlib.sha256(repr((sys.version, sys.base_prefix, sys.argv)).encode())
for name in sys.argv[2:]:
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
CODE
}

# environment FOLDER LOCKFILE: make it unless it is there and current. The stamp is written last, so that an
# interrupted attempt is started over.
environment() {
    local folder=$1 lock=$2 wanted
    find_python
    if command -v flock >/dev/null 2>&1; then
        mkdir -p "$(dirname "$folder")"
        exec 9>"$folder.lock"
        flock 9
    fi
    wanted=$(fingerprint "$folder" "$lock" "$ROOT/pyproject.toml")
    if [ "$(cat "$folder/stamp" 2>/dev/null || true)" != "$wanted" ]; then
        # Nothing is removed that this script did not make: people keep environments of their own under the same names.
        if [ -e "$folder" ] && [ ! -e "$folder/made-by-build.sh" ]; then
            die "$folder exists and was not made by build.sh; move it away, or choose another place with VENV=/path/to/folder"
        fi
        say "build.sh: making $folder with $("$PYTHON" --version 2>&1), from $(basename "$lock")"
        rm -rf "$folder"
        mkdir -p "$folder"
        touch "$folder/made-by-build.sh"
        "$PYTHON" -m venv "$folder" || die "no virtual environment could be made (on Debian and Ubuntu: install python3-venv)"
        # A lock is complete, and was resolved with overrides that pip knows nothing of.
        pip_install "$folder" --require-hashes --no-deps -r "$lock"
        pip_install "$folder" --no-deps --no-build-isolation -e "$ROOT"
        printf '%s\n' "$wanted" >"$folder/stamp"
    fi
    if command -v flock >/dev/null 2>&1; then exec 9>&-; fi
}

pip_install() {
    local folder=$1
    shift
    "$folder/bin/python" -m pip -qq --disable-pip-version-check install --no-input "$@"
}

dev() {
    local name=dev
    [ -z "${ENGINES:-}" ] || name=engines
    BIN=${VENV:-$ROOT/.venv-$name}/bin
    environment "${VENV:-$ROOT/.venv-$name}" "$ROOT/requirements-$name.lock"
}

# Hundreds of processes are started, and where PYTHONDONTWRITEBYTECODE is set each would compile all that it imports.
compiled() { "$BIN/python" -m compileall -q datalake_interfaces datalake_utils datalake_service tests || true; }

# ------------------------------------------------------------------------------------------------ commands

run() {
    say
    say "\$ $*"
    "$@"
}

# The lake is ./lake and the exports go to ./build/quickstart; neither is part of the project. A lake that the user
# has in the environment is left alone.
quickstart() {
    environment "${VENV:-$ROOT/.venv}" "$ROOT/requirements.lock"
    unset S3_BUCKET S3_PREFIX S3_ENDPOINT_URL S3_ACCESS_KEY S3_SECRET_KEY
    export DATALAKE_URI=lake PATH=${VENV:-$ROOT/.venv}/bin:$PATH
    local name
    run datalake datasets create --configFile example_configs/quickstart/dataset.json --prettyPrint
    say
    say "Once more: nothing is added, nothing is paid for."
    run datalake datasets create --configFile example_configs/quickstart/dataset.json --prettyPrint
    mkdir -p build/quickstart
    for name in docstrings.jsonl docstrings.parquet; do
        run datalake export --datasetName docstrings --output "build/quickstart/$name"
    done
    say
    run head -n 1 build/quickstart/docstrings.jsonl
    say
    say "The lake is in ./lake, the exports are in ./build/quickstart. To look around: . .venv/bin/activate; datalake datasets view --datasetName docstrings"
}

check() {
    dev
    local failed=0
    run "$BIN/ruff" format --check . || failed=1
    run "$BIN/ruff" check . || failed=1
    run "$BIN/mypy" || failed=1
    run "$BIN/lint-imports" --no-logo || failed=1
    run "$BIN/codespell" || failed=1
    return $failed
}

fix() {
    dev
    run "$BIN/ruff" check --fix-only .
    run "$BIN/ruff" format .
}

# A benchmark is a module of benchmarks/ that can be run; the others are what they share.
benchmarks() { grep -l '^if __name__ == "__main__":' benchmarks/*.py | sed 's|benchmarks/||; s|\.py$||'; }

bench() {
    local name
    if [ $# -gt 0 ]; then
        name=$1
        shift
        grep -qx "$name" <<<"$(benchmarks)" || die "no benchmark $name; there are: $(benchmarks | tr '\n' ' ')"
        dev
        run "$BIN/python" -m "benchmarks.$name" "$@"
        return
    fi
    dev
    for name in $(benchmarks); do run "$BIN/python" -m "benchmarks.$name"; done
}

# find_engine: set ENGINE to one that runs. A docker client without a daemon answers "docker version" but not "docker info".
find_engine() {
    local engine
    for engine in ${ENGINE:-docker podman}; do
        if command -v "$engine" >/dev/null 2>&1 && "$engine" info >/dev/null 2>&1; then
            ENGINE=$engine
            return
        fi
    done
    die "an image needs a container engine; none of these is installed and running here: ${ENGINE:-docker, podman}"
}

# image_name [test|prod]: set IMAGE and STAGE.
image_name() {
    STAGE=${1:-test}
    case $STAGE in test | prod) ;; *) die "there is test and prod, not '$STAGE'" ;; esac
    TARGET=${TARGET:-lambda}
    case $TARGET in
        lambda) IMAGE=datalake:$STAGE ;;
        spark) IMAGE=datalake:$STAGE-spark ;;
        *) die "TARGET is lambda or spark, not '$TARGET'" ;;
    esac
}

image() {
    image_name "$@"
    [ $# -gt 0 ] && shift
    find_engine
    # shellcheck disable=SC2086  # options are words
    run "$ENGINE" build ${BUILD_OPTIONS:-} "$@" --target "$TARGET" --tag "$IMAGE" --file Dockerfile .
}

smoke() {
    image_name "$@"
    find_engine
    dev
    run "$BIN/python" -m tests.smoke.run "$IMAGE" --engine "$ENGINE" "--build-options=${BUILD_OPTIONS:-}" "--run-options=${RUN_OPTIONS:-}"
}

push() {
    [ $# -gt 0 ] || die "say where to: ./build.sh push test, or prod"
    image_name "$@"
    local version
    version=$(git describe --always --dirty)
    case $STAGE-$version in prod-*-dirty) die "there are changes that are not committed; prod gets what is in the repository" ;; esac
    smoke "$STAGE"
    run "$BIN/python" deploy/push.py "$IMAGE" "$version-$TARGET" "$STAGE-$TARGET" --engine "$ENGINE" --settings "deploy/$STAGE.env"
}

lock() {
    find_python
    local folder=$ROOT/.venv-lock
    if [ ! -x "$folder/bin/uv" ]; then
        rm -rf "$folder"
        "$PYTHON" -m venv "$folder"
        pip_install "$folder" 'uv>=0.9,<1'
    fi
    compile "$folder/bin/uv" requirements.lock "$@"
    compile "$folder/bin/uv" requirements-lambda.lock --extra lambda --extra llm "$@"
    compile "$folder/bin/uv" requirements-spark.lock --extra lambda --extra llm --extra spark "$@"
    compile "$folder/bin/uv" requirements-dev.lock --group dev $(printf -- '--extra %s ' dev-aws lambda llm otel pandas polars vectors) "$@"
    compile "$folder/bin/uv" requirements-engines.lock --all-extras --group dev --group interop "$@"
}

# compile UV LOCKFILE [arguments]: one lock file for all platforms and Python versions. setuptools is in it because
# the project itself is installed without build isolation, so that nothing comes from outside the lock file.
compile() {
    local uv=$1 file=$2
    shift 2
    printf 'setuptools>=77\n' >.build-requirements.in
    # ministack, a server for tests, insists on one version of the library that the product itself is built on.
    printf 'botocore>=1.44\n' >.build-overrides.in
    env -u UV_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_DEFAULT_INDEX -u UV_FIND_LINKS \
        "$uv" pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-header \
        --override .build-overrides.in --output-file "$file" pyproject.toml .build-requirements.in "$@" >/dev/null
    rm -f .build-requirements.in .build-overrides.in
    {
        printf '# Made by "./build.sh lock" from pyproject.toml; do not edit.\n'
        sed -e '/^--/d' -e '/^#/d' -e 's/ (pyproject.toml)$//' -e 's/-r \.build-requirements\.in/pyproject.toml (build)/' \
            -e '/--override \.build-overrides\.in$/d' "$file"
    } >"$file.new"
    mv "$file.new" "$file"
    if grep -nE '://|^-|file:' "$file"; then die "$file names a place to download from (see above)"; fi
    say "build.sh: $file pins $(grep -c '^[A-Za-z].*==' "$file") packages"
}

# ------------------------------------------------------------------------------------------------ main

cd "$ROOT"
command=${1:-}
[ $# -gt 0 ] && shift
case $command in
    quickstart | check | fix | bench | image | smoke | push | lock) "$command" "$@" ;;
    test)
        if [ "${1:-}" = --engines ]; then
            ENGINES=1
            shift
        fi
        dev
        compiled
        # As many workers as there are processors, four at most: each starts the servers that it needs. -n 0: none.
        exec "$BIN/python" -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal "$@"
        ;;
    soak)
        dev
        compiled
        case ${1:-} in
            --processes) exec "$BIN/python" -m tests.processes.soak "${@:2}" ;;
            --annotate) exec "$BIN/python" -m tests.processes.paid_soak "${@:2}" ;;
            --crashes) exec "$BIN/python" -m tests.crash.soak "${@:2}" ;;
            *) exec "$BIN/python" -m tests.simulation.soak "$@" ;;
        esac
        ;;
    conformance)
        dev
        exec "$BIN/python" -m tests.conformance.run "$@"
        ;;
    -h | --help | help) usage ;;
    *)
        [ -z "$command" ] || say "build.sh: no command '$command'"
        usage >&2
        exit 2
        ;;
esac
