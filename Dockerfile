# The base install of datalake: the command and the Python packages, nothing else, not as root.
#
#   ./build.sh image
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" datalake datasets create --configFile dataset.json
#
# PYTHON_IMAGE may be any image with Python 3.11 or newer, venv included, as long as both stages have the same one.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/datalake
WORKDIR /src
# The dependencies first: this layer is rebuilt only when the lock file changes.
COPY requirements.lock ./
RUN /opt/datalake/bin/python -m pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY datalake_interfaces ./datalake_interfaces
COPY datalake_utils ./datalake_utils
COPY datalake_service ./datalake_service
RUN /opt/datalake/bin/python -m pip install --no-deps --no-build-isolation . \
    && /opt/datalake/bin/python -m pip check \
    && /opt/datalake/bin/python -m pip uninstall --yes setuptools pip

FROM ${PYTHON_IMAGE}
RUN useradd --create-home --uid 10001 datalake && mkdir /data && chown datalake /data
COPY --from=build /opt/datalake /opt/datalake
# HOME is writable by any user id: the container may be run with --user, as an id that has no entry in /etc/passwd.
ENV PATH=/opt/datalake/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER datalake
WORKDIR /data
ENTRYPOINT ["datalake"]
CMD ["--help"]
