#!/bin/sh
# The image's entry: a Lambda function where Lambda's Runtime API is, the command everywhere else.
set -eu
if [ -n "${AWS_LAMBDA_RUNTIME_API:-}" ]; then
    cd "$LAMBDA_TASK_ROOT"
    exec python3 -m awslambdaric datalake_service.runtime.lambda_entry.handler
fi
exec python3 -m datalake_service "$@"
