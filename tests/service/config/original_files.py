"""Dataset files as the original service takes them, one for each source, with every field that is known of it."""

from __future__ import annotations

from typing import Any, Final

_ACCOUNT: Final = "123456789012"
_IMAGE: Final = {
    "artifactImplementationLanguage": "python",
    "interfaceECRImageResourceLocation": "Customer",
    "interfaceECRImagePath": f"{_ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/functions:latest",
}
_JAR: Final = {
    "artifactImplementationLanguage": "Java",
    "artifactFileS3Link": "s3://artifacts/handlers-1.0-jar-with-dependencies.jar",
    "artifactFileS3LinkResourceLocation": "Customer",
}
_HEADER: Final = {
    "region": "us-east-1",
    "accessGrantRoleArn": f"arn:aws:iam::{_ACCOUNT}:role/AccessRole",
    "customerAccountForAccess": _ACCOUNT,
    "errorConnector": {"connectorDestination": "S3", "resourceLocation": "letsdata"},
    "computeEngine": {"computeEngineType": "Lambda", "concurrency": 15},
}
_TO_KINESIS: Final = {"connectorDestination": "Kinesis", "resourceLocation": "letsdata", "kinesisShardCount": 15}

ORIGINAL_FILES: Final[dict[str, dict[str, Any]]] = {
    "single file, Java, link": {
        "datasetName": "UriExtractor",
        **_HEADER,
        "readConnector": {
            **_JAR,
            "connectorDestination": "S3",
            "readerType": "Single File Reader",
            "bucketName": "crawl",
            "bucketResourceLocation": "LetsData",
            "singleFileParserImplementationClassName": "com.letsdata.example.TargetUriExtractor",
        },
        "writeConnector": _TO_KINESIS,
        "manifestFile": {
            "fileContents": "crawl/00000.warc.gz\ncrawl/00001.warc.gz",
            "manifestType": "S3ReaderTextManifestFile",
            "readerType": "SINGLEFILEREADER",
        },
    },
    "single file, Python image, no class named": {
        "datasetName": "PythonReader",
        **_HEADER,
        "readConnector": {
            **_IMAGE,
            "connectorDestination": "S3",
            "readerType": "SINGLEFILEREADER",
            "bucketName": "crawl",
            "bucketResourceLocation": "Customer",
        },
        "writeConnector": _TO_KINESIS,
        "computeEngine": {
            "computeEngineType": "LAMBDA",
            "concurrency": 10,
            "timeoutInSeconds": 900,
            "memoryLimitInMegabytes": 10240,
            "logLevel": "WARN",
        },
        "manifestFile": {
            "manifestType": "S3ReaderTextManifestFile",
            "readerType": "Single File Reader",
            "fileContents": "crawl/00000.warc.gz",
        },
    },
    "single file state machine": {
        "datasetName": "WarcReader",
        **_HEADER,
        "readConnector": {
            **_JAR,
            "connectorDestination": "S3",
            "readerType": "Single File State Machine Reader",
            "bucketName": "crawl",
            "bucketResourceLocation": "LetsData",
            "singleFileStateMachineParserImplementationClassName": "com.letsdata.parser.WARCFileParser",
            "singleFileStateMachineReaderImplementationClassName": "com.letsdata.reader.WARCReader",
        },
        "writeConnector": _TO_KINESIS,
        "manifestFile": {
            "manifestFileS3Uri": "s3://manifests/manifest.txt",
            "readerManifestResourceLocation": "Customer",
            "manifestType": "S3ReaderS3LinkManifestFile",
            "readerType": "SINGLEFILESTATEMACHINEREADER",
        },
    },
    "multiple file state machine": {
        "datasetName": "CrawlReader",
        **_HEADER,
        "readConnector": {
            **_JAR,
            "connectorDestination": "S3",
            "readerType": "Multiple File State Machine Reader",
            "bucketName": "crawl",
            "bucketResourceLocation": "LetsData",
            "singleFileStateMachineParserImplementationClassNameMap": {
                "WARC": "com.letsdata.parser.WARCFileParser",
                "WAT": "com.letsdata.parser.WATFileParser",
                "WET": "com.letsdata.parser.WETFileParser",
            },
            "multipleFileStateMachineReaderClassName": "com.letsdata.reader.CommonCrawlReader",
        },
        "writeConnector": _TO_KINESIS,
        "manifestFile": {
            "manifestType": "S3ReaderTextManifestFile",
            "readerType": "MULTIPLEFILESTATEMACHINEREADER",
            "fileContents": "WARC:a.warc.gz|WAT:a.wat.gz|WET:a.wet.gz",
        },
    },
    "Spark": {
        "datasetName": "SparkLanguages",
        **_HEADER,
        "readConnector": {
            **_IMAGE,
            "connectorDestination": "S3",
            "readerType": "SPARKREADER",
            "bucketName": "crawl",
            "bucketResourceLocation": "Customer",
            "sparkFileFormat": "text",
            "sparkReadOptions": {"lineSep": "\n\r\n\r\n"},
        },
        "writeConnector": {
            "connectorDestination": "S3",
            "resourceLocation": "letsdata",
            "writerType": "Spark",
            "sparkFileFormat": "json",
            "sparkWriteOptions": {"compression": "gzip"},
        },
        "computeEngine": {"computeEngineType": "Spark", "runSparkInterfaces": "MAPPER_AND_REDUCER"},
        "manifestFile": {
            "manifestType": "S3ReaderTextManifestFile",
            "region": "us-east-1",
            "fileContents": "crawl/00000.warc.wet.gz",
            "readerType": "SPARKREADER",
        },
    },
    "SQS": {
        "datasetName": "QueueReader",
        **_HEADER,
        "readConnector": {
            **_IMAGE,
            "connectorDestination": "SQS",
            "queueName": "documents.fifo",
            "resourceLocation": "LetsData",
        },
        "writeConnector": {"connectorDestination": "Kinesis", "resourceLocation": "Customer", "kinesisShardCount": 1},
        "manifestFile": {
            "sqsReaderTaskStopCondition": "DrainQueues",
            "sqsReaderTaskStopAfterConsecutiveEmptyReceives": 10,
        },
    },
    "Kinesis with vectors": {
        "datasetName": "StreamVectors",
        **_HEADER,
        "readConnector": {
            **_IMAGE,
            "connectorDestination": "KINESIS",
            "readerType": "KINESISSTREAMREADER",
            "streamArn": f"arn:aws:kinesis:us-east-1:{_ACCOUNT}:stream/documents",
            "resourceLocation": "Customer",
        },
        "writeConnector": {
            "connectorDestination": "SQS",
            "resourceLocation": "letsdata",
            "messageIdAttributeName": "docId",
        },
        "computeEngine": {
            "computeEngineType": "LAMBDA_AND_SAGEMAKER",
            "lambda": {
                "lambdaConcurrency": 2,
                "lambdaMemoryLimitInMegabytes": 10240,
                "lambdaTimeoutInSeconds": 900,
                "logLevel": "WARN",
            },
            "model": {
                "modelResourceLocation": "LetsData",
                "modelUrl": "s3://models/model.tar.gz",
                "modelUrlResourceLocation": "Customer",
                "modelEnvironmentVariables": {
                    "HF_TASK": "feature-extraction",
                    "SAGEMAKER_PROGRAM": "inference.py",
                    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
                },
                "modelContainerImageName": "HuggingFace_Inference_4_12_3",
            },
            "endpoint": {
                "sagemakerEndpointType": "Serverless",
                "sagemakerEndpointResourceLocation": "LetsData",
                "sagemakerServerless": {
                    "sagemakerEndpointConcurrency": 15,
                    "sagemakerMemoryLimitInMegabytes": 6144,
                },
            },
        },
        "manifestFile": {
            "manifestType": "KinesisStreamReaderManifest",
            "kinesisReaderTaskStopCondition": "Continuous",
            "kinesisReaderTaskStartFromCondition": "Earliest",
            "kinesisReaderTaskContinuousPollFrequency": "Poll with exponential frequency (max 1 min)",
        },
    },
    "DynamoDB Streams": {
        "datasetName": "TableChanges",
        **_HEADER,
        "readConnector": {
            **_IMAGE,
            "connectorDestination": "DYNAMODBSTREAMS",
            "streamArn": f"arn:aws:dynamodb:us-east-1:{_ACCOUNT}:table/documents/stream/2023-12-01T00:00:00.000",
            "resourceLocation": "Customer",
        },
        "writeConnector": _TO_KINESIS,
        "manifestFile": {
            "manifestType": "DynamoDBStreamReaderManifest",
            "dynamoDBReaderTaskStopCondition": "Continuous",
            "dynamoDBReaderTaskStartFromCondition": "Earliest",
            "dynamoDBReaderTaskContinuousPollFrequency": "Poll with exponential frequency (max 1 min)",
        },
    },
    "DynamoDB table": {
        "datasetName": "TableItems",
        **_HEADER,
        "readConnector": {**_IMAGE, "connectorDestination": "DynamoDB", "tableName": "documents"},
        "writeConnector": {"connectorDestination": "DynamoDB", "resourceLocation": "letsdata"},
        "manifestFile": {"completionMode": "SingleTableScan", "segments": 4},
    },
    "as the service shows it later": {
        "datasetName": "Viewed",
        **_HEADER,
        "customerAccessRoleArn": f"arn:aws:iam::{_ACCOUNT}:role/CustomerAccess",
        "createDatetime": 1_700_000_000_000,
        "datasetId": "0123456789abcdef0123456789abcdef",
        "tenantId": "01234567-89ab-cdef-0123-456789abcdef",
        "userId": "fedcba98-7654-3210-fedc-ba9876543210",
        "readConnector": {**_IMAGE, "connectorDestination": "SQS", "queueName": "documents"},
        "writeConnector": _TO_KINESIS,
        "manifestFile": {},
    },
}
"""Name to the JSON of the file."""
