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

# The dependencies: made again only when a lock file changes.
FROM ${BASE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements-lambda.lock ./
RUN python3 -m pip install --target /opt/datalake --require-hashes --no-deps --no-compile -r requirements-lambda.lock \
    && python3 -m compileall -q -j 0 /opt/datalake \
    && mkdir /opt/build && cd /opt/datalake && mv setuptools* _distutils_hack distutils-precedence.pth /opt/build && rm -rf bin \
    && cd pyarrow && rm -rf tests include src _flight.* libarrow_flight.* libarrow_flight_*  # 40 MB that nothing here uses

# This project: what changes most is all that is made again when it changes.
FROM dependencies AS project
COPY pyproject.toml README.md LICENSE ./
COPY datalake_interfaces ./datalake_interfaces
COPY datalake_utils ./datalake_utils
COPY datalake_service ./datalake_service
RUN PYTHONPATH=/opt/build python3 -m pip install --target /opt/project --no-deps --no-build-isolation --no-compile . \
    && python3 -m compileall -q -j 0 -s /opt/project -p /opt/datalake /opt/project \
    && rm -rf /opt/project/bin

FROM ${BASE} AS common
COPY --chmod=755 deploy/entrypoint.sh /usr/local/bin/datalake
# HOME is writable by any user id: Lambda brings a user of its own, and a container may be run with --user.
ENV PYTHONPATH=/opt/datalake LAMBDA_TASK_ROOT=/var/task HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN mkdir -p /data /var/task && chown 10001:10001 /data
WORKDIR /data
ENTRYPOINT ["/usr/local/bin/datalake"]
CMD ["--help"]

FROM dependencies AS dependencies-spark
COPY requirements-spark.lock ./
RUN python3 -m pip install --target /opt/datalake --upgrade --require-hashes --no-deps --no-compile -r requirements-spark.lock \
    && cd /opt/datalake && rm -rf setuptools* _distutils_hack distutils-precedence.pth bin \
    && (cd pyarrow && rm -rf tests include src _flight.* libarrow_flight.* libarrow_flight_*) \
    && python3 -m compileall -q -j 0 /opt/datalake
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

FROM common AS spark
RUN if command -v dnf >/dev/null; then dnf install -y java-17-amazon-corretto-headless && dnf clean all; \
    else apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless && rm -rf /var/lib/apt/lists/*; fi
ENV PATH=/opt/datalake/pyspark/bin:$PATH PYSPARK_PYTHON=python3
COPY --from=dependencies-spark /opt/datalake /opt/datalake
COPY --from=project /opt/project /opt/datalake
USER 10001:10001

# The last stage is what a build without a target makes.
FROM common AS lambda
COPY --from=dependencies /opt/datalake /opt/datalake
COPY --from=project /opt/project /opt/datalake
USER 10001:10001
