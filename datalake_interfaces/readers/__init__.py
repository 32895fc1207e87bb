"""Handlers for sources: one interface per kind of source."""

from __future__ import annotations

from datalake_interfaces.readers.dynamodb import DynamoDBTableItemReader
from datalake_interfaces.readers.dynamodbstreams import DynamoDBStreamsRecordReader
from datalake_interfaces.readers.kinesis import KinesisRecordReader
from datalake_interfaces.readers.parsers import (
    MultipleFileStateMachineReader,
    SingleFileParser,
    SingleFileStateMachineParser,
    SingleFileStateMachineReader,
    SystemFileReader,
)
from datalake_interfaces.readers.sagemaker import SagemakerVectorsInterface
from datalake_interfaces.readers.spark import SparkMapperInterface, SparkReducerInterface
from datalake_interfaces.readers.sqs import QueueMessageReader

__all__ = [
    "DynamoDBStreamsRecordReader",
    "DynamoDBTableItemReader",
    "KinesisRecordReader",
    "MultipleFileStateMachineReader",
    "QueueMessageReader",
    "SagemakerVectorsInterface",
    "SingleFileParser",
    "SingleFileStateMachineParser",
    "SingleFileStateMachineReader",
    "SparkMapperInterface",
    "SparkReducerInterface",
    "SystemFileReader",
]
