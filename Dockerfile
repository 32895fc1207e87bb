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
# BASE may be any image with Python 3.11 or newer and pip, as long as all stages have the same one. The target "spark"
# (TARGET=spark ./build.sh image) has Java, pyspark and its connector for S3 besides.
ARG BASE=amazon/aws-lambda-python:3.13
# The connector has to be of the Hadoop that pyspark brings; the build fails if it is not. Empty: without it.
ARG HADOOP_AWS=org.apache.hadoop:hadoop-aws:3.5.0

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

FROM build AS build-spark
COPY requirements-spark.lock ./
RUN python3 -m pip install --target /opt/datalake --upgrade --require-hashes --no-deps --no-compile -r requirements-spark.lock \
    && rm -rf /opt/datalake/setuptools* /opt/datalake/_distutils_hack /opt/datalake/distutils-precedence.pth /opt/datalake/bin \
    && cd /opt/datalake/pyarrow && rm -rf tests include src _flight.* libarrow_flight.* libarrow_flight_*
RUN if command -v dnf >/dev/null; then dnf install -y java-17-amazon-corretto-headless; \
    else apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless; fi
ARG HADOOP_AWS
# Spark itself fetches the connector and what that needs, in the versions that it was published with.
RUN if [ -n "${HADOOP_AWS}" ]; then \
        test -e "/opt/datalake/pyspark/jars/hadoop-client-api-${HADOOP_AWS##*:}.jar" \
        && echo "" >/tmp/nothing.py \
        && PYTHONPATH=/opt/datalake /opt/datalake/pyspark/bin/spark-submit --master "local[1]" --packages "${HADOOP_AWS}" \
            --conf spark.jars.ivy=/tmp/ivy /tmp/nothing.py \
        && cp /tmp/ivy/jars/*.jar /opt/datalake/pyspark/jars/ && rm -rf /tmp/ivy; \
    fi

FROM lambda AS spark
USER 0
RUN if command -v dnf >/dev/null; then dnf install -y java-17-amazon-corretto-headless && dnf clean all; \
    else apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless && rm -rf /var/lib/apt/lists/*; fi
COPY --from=build-spark /opt/datalake /opt/datalake
ENV PATH=/opt/datalake/pyspark/bin:$PATH PYSPARK_PYTHON=python3
USER 10001:10001

# The last stage is what a build without a target makes.
FROM lambda
