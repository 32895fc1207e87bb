"""``computeEngine``: where tasks run."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from datalake_service.config.choice import Choice
from datalake_service.config.faults import wrong
from datalake_service.config.section import (
    AsTuple,
    LakeName,
    PositiveInt,
    ResourceLocation,
    S3Uri,
    Section,
    Text,
    spelled,
)
from datalake_service.config.variants import Only, VariantBy

LAMBDA_SECONDS = 900
"""What AWS allows a Lambda function."""
LAMBDA_MEGABYTES = 10_240
"""What AWS allows a Lambda function."""
_LEAST_LAMBDA_MEGABYTES = 128


class Engine(Choice):
    """The kind of engine."""

    LOCAL = "LOCAL"
    RAY = "RAY", "Ray"
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


DEFAULT_CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer."""

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
    """An AWS Lambda function, invoked for each task."""

    compute_engine_type: Annotated[Engine, Only((Engine.LAMBDA,))]
    """The kind of engine."""
    function_name: Text | None = Field(None, validation_alias=spelled("functionName", "lambdaFunctionName"))
    """Name or ARN of the function. It has to exist; the original's service makes one."""
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

    function_name: Text | None = Field(None, validation_alias=spelled("functionName", "lambdaFunctionName"))
    """Name or ARN of the function. It has to exist; the original's service makes one."""
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


_Number = Annotated[float, Field(ge=0)]


class ActorResources(Section):
    """What the actors of one annotator need, and how many there are (RAY)."""

    actors: PositiveInt = 1
    """How many there are; rows are shared out among them."""
    num_cpus: _Number = 1.0
    """Processors of each."""
    num_gpus: _Number = 0.0
    """GPUs of each; a part of one, such as 0.5, shares it."""
    memory_in_megabytes: PositiveInt | None = None
    """Memory of each, as the cluster counts it."""


class RayEngine(Section):
    """Actors of a Ray cluster."""

    compute_engine_type: Annotated[Engine, Only((Engine.RAY,))]
    """The kind of engine."""
    address: Text | None = None
    """The cluster: `host:port` of its head, `ray://host:10001`, or `auto` for the one that this machine belongs to.
    Default: a Ray of its own on this machine, for as long as the run lasts."""
    concurrency: PositiveInt | None = None
    """How many tasks run at once; default: as many as the cluster has room for when the run begins."""
    num_cpus: _Number = 1.0
    """Processors of each task."""
    num_gpus: _Number = 0.0
    """GPUs of each task."""
    memory_in_megabytes: PositiveInt | None = None
    """Memory of each task, as the cluster counts it."""
    annotator_resources: dict[LakeName, ActorResources] = Field(default_factory=dict)
    """What annotators need, by name; default: one actor with one processor each."""
    connect_timeout_in_seconds: Annotated[float, Field(gt=0)] = DEFAULT_CONNECT_SECONDS
    """How long the cluster may take to answer."""
    log_level: LogLevel = LogLevel.WARN
    """What handlers log at this level and above is kept."""


class SparkEngine(Section):
    """Jobs of a Spark cluster."""

    compute_engine_type: Annotated[Engine, Only((Engine.SPARK,))]
    """The kind of engine."""
    run_spark_interfaces: SparkRun = SparkRun.MAPPER_AND_REDUCER
    """Which interfaces run (readerType SPARKREADER)."""
    master: Text | None = None
    """The cluster, as Spark names it: `spark://host:7077`, `yarn`, `k8s://...`, `local[4]`. Default: what
    `spark-submit` says, else `local[*]`, which is this machine."""
    remote: Text | None = None
    """A cluster behind Spark Connect, `sc://host:15002`, in the place of `master`."""
    jars: Annotated[tuple[Text, ...], AsTuple] = ()
    """Jars for the cluster, such as the connector for `s3a://`: paths, also with `*`, relative to where the command
    runs."""
    spark_conf: dict[str, str] = Field(default_factory=dict)
    """Settings of Spark, such as `spark.executor.memory`. No secrets: the dataset file is stored in the lake."""
    driver_memory_in_megabytes: PositiveInt | None = None
    """Memory of Spark's own process on this machine; default: half of what there is, 8 GiB at most."""
    concurrency: PositiveInt | None = None
    """How many tasks run at once; default: one for each core that Spark has."""
    spark_credentials_secret_arn: Text | None = None
    """The secret with the credentials that Spark reads and writes with (readerType SPARKREADER)."""
    connect_timeout_in_seconds: Annotated[float, Field(gt=0)] = DEFAULT_CONNECT_SECONDS
    """How long the cluster may take to answer."""
    log_level: LogLevel = LogLevel.WARN
    """What handlers log at this level and above is kept."""

    @field_validator("remote")
    @classmethod
    def _one_of_both(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("master") is not None:
            raise wrong("master says where the cluster is, too; keep one of them")
        return value


ComputeEngine = Annotated[
    LocalEngine | RayEngine | LambdaEngine | LambdaAndSagemakerEngine | SparkEngine,
    VariantBy(
        "computeEngineType",
        Engine,
        {
            Engine.LOCAL: LocalEngine,
            Engine.RAY: RayEngine,
            Engine.LAMBDA: LambdaEngine,
            Engine.LAMBDA_AND_SAGEMAKER: LambdaAndSagemakerEngine,
            Engine.SPARK: SparkEngine,
        },
        guess=lambda _: LocalEngine,
    ),
]
