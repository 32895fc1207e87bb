"""``computeEngine``: where tasks run."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from datalake_service.config.choice import Choice
from datalake_service.config.section import PositiveInt, ResourceLocation, S3Uri, Section, Text, spelled
from datalake_service.config.variants import Only, VariantBy

LAMBDA_SECONDS = 900
"""What AWS allows a Lambda function."""
LAMBDA_MEGABYTES = 10_240
"""What AWS allows a Lambda function."""
_LEAST_LAMBDA_MEGABYTES = 128


class Engine(Choice):
    """The kind of engine."""

    LOCAL = "LOCAL"
    LAMBDA = "LAMBDA", "Lambda"
    LAMBDA_AND_SAGEMAKER = "LAMBDA_AND_SAGEMAKER", "Lambda and Sagemaker"
    SPARK = "SPARK", "Spark"


class LogLevel(Choice):
    """Which log events are kept."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARN = "WARN", "WARNING"
    ERROR = "ERROR"


class SparkRun(Choice):
    """Which Spark interfaces run."""

    MAPPER_AND_REDUCER = "MAPPER_AND_REDUCER", "Mapper and Reducer"
    MAPPER_ONLY = "MAPPER_ONLY", "Mapper Only"
    REDUCER_ONLY = "REDUCER_ONLY", "Reducer Only"


class EndpointType(Choice):
    """The kind of SageMaker endpoint."""

    SERVERLESS = "Serverless"
    PROVISIONED = "Provisioned"


_LambdaSeconds = Annotated[int, Field(ge=1, le=LAMBDA_SECONDS)]
_LambdaMegabytes = Annotated[int, Field(ge=_LEAST_LAMBDA_MEGABYTES, le=LAMBDA_MEGABYTES)]


class LocalEngine(Section):
    """Processes of this machine. The default."""

    compute_engine_type: Annotated[Engine, Only((Engine.LOCAL,))] = Engine.LOCAL
    """The kind of engine."""
    concurrency: PositiveInt | None = None
    """How many tasks run at once; default: one for each processor."""
    log_level: LogLevel = LogLevel.WARN
    """What handlers log at this level and above is kept."""


class LambdaEngine(Section):
    """AWS Lambda functions."""

    compute_engine_type: Annotated[Engine, Only((Engine.LAMBDA,))]
    """The kind of engine."""
    concurrency: PositiveInt = Field(validation_alias=spelled("concurrency", "lambdaConcurrency"))
    """How many tasks run at once."""
    timeout_in_seconds: _LambdaSeconds = Field(
        LAMBDA_SECONDS, validation_alias=spelled("timeoutInSeconds", "lambdaTimeoutInSeconds")
    )
    """How long one call may take."""
    memory_limit_in_megabytes: _LambdaMegabytes = Field(
        LAMBDA_MEGABYTES, validation_alias=spelled("memoryLimitInMegabytes", "lambdaMemoryLimitInMegabytes")
    )
    """Memory of the function."""
    log_level: LogLevel = LogLevel.WARN
    """What handlers log at this level and above is kept."""


class LambdaSettings(Section):
    """The Lambda half of LAMBDA_AND_SAGEMAKER."""

    lambda_concurrency: PositiveInt = Field(validation_alias=spelled("lambdaConcurrency", "concurrency"))
    """How many tasks run at once."""
    lambda_timeout_in_seconds: _LambdaSeconds = Field(
        LAMBDA_SECONDS, validation_alias=spelled("lambdaTimeoutInSeconds", "timeoutInSeconds")
    )
    """How long one call may take."""
    lambda_memory_limit_in_megabytes: _LambdaMegabytes = Field(
        LAMBDA_MEGABYTES, validation_alias=spelled("lambdaMemoryLimitInMegabytes", "memoryLimitInMegabytes")
    )
    """Memory of the function."""
    log_level: LogLevel = LogLevel.WARN
    """What handlers log at this level and above is kept."""


class ModelSettings(Section):
    """The model behind the endpoint."""

    model_config: ClassVar[ConfigDict] = ConfigDict(protected_namespaces=())  # the original's keys start with "model"

    model_resource_location: ResourceLocation | None = None
    """Who owns the SageMaker model."""
    model_url: S3Uri | None = None
    """The archive with the model."""
    model_url_resource_location: ResourceLocation | None = None
    """Who owns the archive."""
    model_environment_variables: dict[str, str] = Field(default_factory=dict)
    """The environment of the container. No secrets: the dataset file is stored in the lake."""
    model_container_image_name: Text | None = None
    """The named container, such as `HuggingFace_Inference_4_12_3`."""


class ServerlessSettings(Section):
    """A serverless endpoint."""

    sagemaker_endpoint_concurrency: PositiveInt | None = None
    """How many calls run at once."""
    sagemaker_memory_limit_in_megabytes: PositiveInt | None = None
    """Memory of the endpoint."""


class EndpointSettings(Section):
    """The endpoint that computes vectors."""

    sagemaker_endpoint_type: EndpointType = EndpointType.SERVERLESS
    """The kind of endpoint."""
    sagemaker_endpoint_resource_location: ResourceLocation | None = None
    """Who owns the endpoint."""
    sagemaker_endpoint_name: Text | None = None
    """The endpoint, if you own it."""
    sagemaker_serverless: ServerlessSettings | None = None
    """Settings of a serverless endpoint."""


class LambdaAndSagemakerEngine(Section):
    """AWS Lambda functions, and a SageMaker endpoint that computes vectors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(protected_namespaces=())

    compute_engine_type: Annotated[Engine, Only((Engine.LAMBDA_AND_SAGEMAKER,))]
    """The kind of engine."""
    lambda_settings: LambdaSettings = Field(alias="lambda")
    """The functions."""
    model: ModelSettings | None = None
    """The model."""
    endpoint: EndpointSettings | None = None
    """The endpoint."""


class SparkEngine(Section):
    """Spark."""

    compute_engine_type: Annotated[Engine, Only((Engine.SPARK,))]
    """The kind of engine."""
    run_spark_interfaces: SparkRun = SparkRun.MAPPER_AND_REDUCER
    """Which interfaces run."""


ComputeEngine = Annotated[
    LocalEngine | LambdaEngine | LambdaAndSagemakerEngine | SparkEngine,
    VariantBy(
        "computeEngineType",
        Engine,
        {
            Engine.LOCAL: LocalEngine,
            Engine.LAMBDA: LambdaEngine,
            Engine.LAMBDA_AND_SAGEMAKER: LambdaAndSagemakerEngine,
            Engine.SPARK: SparkEngine,
        },
        guess=lambda _: LocalEngine,
    ),
]
