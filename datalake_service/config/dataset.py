"""The dataset file as a whole: the header and its sections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    PrivateAttr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from datalake_service.config import manifest as manifests
from datalake_service.config.annotator import AnnotatorConfig, read_in_order
from datalake_service.config.compute import ComputeEngine, LambdaAndSagemakerEngine, LocalEngine
from datalake_service.config.faults import absent, wrong, wrong_at
from datalake_service.config.manifest import ManifestFile
from datalake_service.config.on_error import OnError
from datalake_service.config.read import FilesSection, ReadConnector, Source
from datalake_service.config.section import (
    AsTuple,
    AwsAccount,
    JsonObject,
    LakeName,
    Region,
    RoleArn,
    Section,
    Text,
)
from datalake_service.config.vectors import DatasetVectorsConfig
from datalake_service.config.write import DatalakeErrorConnector, DatalakeWriteConnector, ErrorConnector, WriteConnector

_MANIFEST_OF: Mapping[Source, type[Section]] = {
    Source.SQS: manifests.SqsManifest,
    Source.KINESIS: manifests.KinesisManifest,
    Source.DYNAMODB_STREAMS: manifests.DynamoDBStreamsManifest,
    Source.DYNAMODB: manifests.DynamoDBManifest,
}
"""The manifests of sources that have only one form."""


def _manifest(value: object, _next: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
    """Read the manifest as the source needs it; nothing can be said while the source is not known."""
    connector = info.data.get("read_connector")
    if connector is None:
        return None
    source = connector.connector_destination
    if value is None:
        return _default_manifest(source)
    if source is Source.GENERATOR:
        raise wrong("a GENERATOR has no manifest; remove it")
    if not isinstance(connector, FilesSection):
        return _MANIFEST_OF[source].model_validate(value, context=info.context)
    form = manifests.FILE_MANIFESTS.variant_of(value).model_validate(value, context=info.context)
    repeated = getattr(form, "reader_type", None)
    if repeated is not None and repeated is not connector.reader_type:
        message = f"readConnector.readerType says {connector.reader_type}; name one of them, or leave this out"
        raise wrong_at("manifestFile", [(("readerType",), repeated, message)])
    return form


def _default_manifest(source: Source) -> Section | None:
    if source is Source.S3:
        raise absent('needed for S3: which files to read, for example {"globs": ["logs/**/*.gz"]}')
    if source is Source.FOLDER:
        return manifests.GlobManifest()
    return None if source is Source.GENERATOR else _MANIFEST_OF[source]()


class DatasetConfig(Section):
    """What to read, with which handler, where to write, on which engine."""

    json_schema: Text | None = Field(None, alias="$schema")
    """Where an editor finds the JSON Schema of this file; has no effect."""
    dataset_name: LakeName
    """The name of the dataset: the folder of the lake that it lives in."""
    region: Region | None = None
    """AWS region; default: the environment's."""
    access_grant_role_arn: RoleArn | None = None
    """The role to assume for reading and writing AWS resources of yours."""
    customer_account_for_access: AwsAccount | None = None
    """The account that is granted access to resources that were created."""
    read_connector: ReadConnector
    """Where records come from."""
    write_connector: WriteConnector = DatalakeWriteConnector()
    """Where documents go; default: the lake."""
    vectors: DatasetVectorsConfig | None = None
    """Vectors for documents, before they are written."""
    error_connector: ErrorConnector = DatalakeErrorConnector()
    """Where records go that could not become a document; default: beside the batch."""
    compute_engine: ComputeEngine = LocalEngine()
    """Where tasks run; default: processes of this machine."""
    manifest_file: Annotated[ManifestFile | None, WrapValidator(_manifest)] = Field(None, validate_default=True)
    """Which items of the source are read. Needed for S3; default for FOLDER: every file."""
    on_error: OnError = OnError()
    """What happens when a record cannot become a document."""
    annotators: Annotated[tuple[AnnotatorConfig, ...], AsTuple, WrapValidator(read_in_order)] = ()
    """Columns to add after the merge, in this order."""

    customer_access_role_arn: RoleArn | None = None
    """Added by the original's service; kept."""
    create_datetime: int | None = None
    """Added by the original's service; kept."""
    dataset_id: Text | None = None
    """Added by the original's service; kept."""
    tenant_id: Text | None = None
    """Added by the original's service; kept."""
    user_id: Text | None = None
    """Added by the original's service; kept."""

    _folder: Path = PrivateAttr(default_factory=Path)
    _document: JsonObject = PrivateAttr(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, folder: Path) -> Self:
        """Check the JSON of a dataset file that stands in ``folder``; ``load.load_dataset`` puts errors into words.

        Raises:
            ValidationError: Every mistake.
        """
        document = dict(document)
        return cls.model_validate(document, context={"folder": folder, "document": document})

    @model_validator(mode="after")
    def _name_the_endpoint(self) -> Self:
        """The engine may name the endpoint of the vectors."""
        engine = self.compute_engine
        if self.vectors is None or not isinstance(engine, LambdaAndSagemakerEngine) or engine.endpoint is None:
            return self
        return self.model_copy(update={"vectors": self.vectors.with_endpoint(engine.endpoint.sagemaker_endpoint_name)})

    @model_validator(mode="after")
    def _remember_origin(self, info: ValidationInfo) -> Self:
        origin = info.context or {}
        self._folder = origin.get("folder", Path())
        self._document = origin.get("document", {})
        return self

    @property
    def folder(self) -> Path:
        """The folder of the dataset file: handlers are looked up here, paths are relative to it."""
        return self._folder

    def in_folder(self, folder: Path) -> Self:
        """The same dataset, with its classes in another folder: that of another machine."""
        moved = self.model_copy()
        moved._folder = folder  # noqa: SLF001 - one of us
        return moved

    @property
    def document(self) -> JsonObject:
        """The JSON that it was read from, as it was written."""
        return self._document
