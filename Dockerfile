# One image for the command and for AWS Lambda.
#
#   ./build.sh image
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" datalake:test datasets create --configFile dataset.json
#
# Your handlers, for Lambda, in a Dockerfile of two lines:
#
#   FROM datalake:test
#   COPY handlers/ /var/task/
#
# BASE may be any image with Python 3.11 or newer and pip, as long as all stages have the same one.
ARG BASE=amazon/aws-lambda-python:3.13

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The dependencies first: this layer is made again only when the lock file changes.
COPY requirements-lambda.lock ./
RUN python3 -m pip install --target /opt/datalake --require-hashes --no-deps --no-compile -r requirements-lambda.lock
COPY pyproject.toml README.md LICENSE ./
COPY datalake_interfaces ./datalake_interfaces
COPY datalake_utils ./datalake_utils
COPY datalake_service ./datalake_service
RUN PYTHONPATH=/opt/datalake python3 -m pip install --target /opt/datalake --no-deps --no-build-isolation --no-compile . \
    && python3 -m compileall -q -j 0 /opt/datalake \
    && rm -rf /opt/datalake/setuptools* /opt/datalake/_distutils_hack /opt/datalake/distutils-precedence.pth /opt/datalake/bin \
    && cd /opt/datalake/pyarrow && rm -rf tests include src _flight.* libarrow_flight.* libarrow_flight_*  # 40 MB that nothing here uses

FROM ${BASE} AS lambda
COPY --from=build /opt/datalake /opt/datalake
COPY --chmod=755 deploy/entrypoint.sh /usr/local/bin/datalake
# HOME is writable by any user id: Lambda brings a user of its own, and a container may be run with --user.
ENV PYTHONPATH=/opt/datalake LAMBDA_TASK_ROOT=/var/task HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN mkdir -p /data /var/task && chown 10001:10001 /data
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["/usr/local/bin/datalake"]
CMD ["--help"]
