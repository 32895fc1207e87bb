"""Articles of a stream, and which of their texts become vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from datalake_interfaces import Document, KinesisRecordReader, SagemakerVectorsInterface


class ArticleReader(KinesisRecordReader):
    """One document for each record."""

    def parse_message(
        self,
        stream_arn: str,
        shard_id: str,
        partition_key: str,
        sequence_number: str,
        approximate_arrival_timestamp: int,
        data: bytes,
    ) -> Document:
        """Hand the article on; data that is no JSON raises, and becomes a rejection."""
        article = json.loads(data)
        return Document(article, document_id=article["documentId"], record_type="article", partition_key=partition_key)


class ArticleVectors(SagemakerVectorsInterface):
    """Vectors of title and text, in the place of the text."""

    def extract_document_elements_for_vectorization(self, document: Mapping[str, Any]) -> Mapping[str, str]:
        """Title and text, each by itself."""
        return {name: document[name] for name in ("title", "text") if document.get(name)}

    def construct_vector_doc(self, document: Mapping[str, Any], vectors_map: Mapping[str, Sequence[float]]) -> Document:
        """What is left of the article, with its vectors."""
        kept = {key: value for key, value in document.items() if key != "text"}
        return Document(
            {**kept, "vectors": dict(vectors_map)}, document_id=document["documentId"], record_type="vectors"
        )
