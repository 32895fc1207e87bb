"""A language model as an annotator: one request for each attempt. Waiting and repeating is the framework's.

The service speaks the protocol of OpenAI's chat completions, as nearly all of them do. httpx is an extra: it is loaded
when the annotator is opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from datalake_interfaces.annotators import Annotation, Annotator, DataItem
from datalake_interfaces.attempts import GiveUpError, TryLaterError
from datalake_interfaces.context import HandlerContext
from datalake_service.annotating.llm_answer import AnswerReader, UnusableAnswerError
from datalake_service.config.llm import MAX_COMPLETION_TOKENS, AnswerFormat, LlmConfig, columns_of, filled
from datalake_service.errors import UsageError

if TYPE_CHECKING:
    import httpx

    from datalake_utils.secret import Secret

_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 600.0
"""How long a service may think, unless the row has a deadline."""
_CHARACTERS_A_TOKEN: Final = 3
"""Rather few: it is for upper bounds, and for services that do not say how many tokens there were."""
_MILLION: Final = 1_000_000
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_ELSEWHERE: Final = frozenset({*range(300, 400), 404, 405, 410})
"""Statuses that say: not here. It is the address or the model that is wrong, for every row."""
_NO_MONEY: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
_CODE: Final = re.compile(r"[a-z0-9_.-]{1,64}")


class ModelServiceError(Exception):
    """An answer of the service that is none of the model. Carries no text of it: it may quote the row or the key."""

    def __init__(self, status_code: int, *, code: str | None, headers: Mapping[str, str]) -> None:
        """Take the HTTP status, the service's own word for it, and its headers."""
        super().__init__(f"the service answered {status_code}{f' ({code})' if code else ''}")
        # Some say 429 when there is no money left. No call will work, for whatever row: as if it were not allowed.
        self.status_code = _FORBIDDEN if code in _NO_MONEY or status_code in _ELSEWHERE else status_code
        self.headers = headers


class LlmAnnotator(Annotator):
    """Asks a language model about each row, and checks its answers."""

    def __init__(self, config: LlmConfig, *, api_key: Secret | None) -> None:
        """Prepare to ask as ``config`` says."""
        self._config = config
        self._api_key = api_key
        self._reader = AnswerReader(config.response)
        self._client: httpx.AsyncClient | None = None
        self._request: dict[str, Any] = {**config.parameters, "model": config.model}
        if MAX_COMPLETION_TOKENS not in config.parameters:
            self._request["max_tokens"] = config.most_output_tokens
        if config.answer_format is AnswerFormat.SCHEMA:
            schema = {"name": "answer", "schema": self._reader.schema, "strict": True}
            self._request["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif config.answer_format is AnswerFormat.OBJECT:
            self._request["response_format"] = {"type": "json_object"}

    async def open(self, context: HandlerContext) -> None:  # noqa: ARG002 - the interface's
        """Make the client.

        Raises:
            UsageError: httpx is not installed.
        """
        try:
            import httpx
        except ImportError:
            raise UsageError("annotators with llm need httpx: pip install 'datalake[llm]'") from None
        headers = {}
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key.reveal()}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )

    async def annotate(self, item: DataItem) -> Annotation:
        """Ask once.

        Raises:
            ModelServiceError: The service refused or failed.
            UnusableAnswerError: The model's answer does not fit; ask again.
            GiveUpError: The model refused, or could not be brought to an answer that fits.
            TryLaterError: What the service sent is no answer at all.
        """
        before = _unusable(item.error)
        try:
            return await self._ask(item, before)
        except UnusableAnswerError:
            raise
        except Exception as error:
            error.__cause__ = before  # the service failed in the middle of a repair; it goes on with the next attempt
            raise

    async def _ask(self, item: DataItem, before: UnusableAnswerError | None) -> Annotation:
        assert self._client is not None, "open comes first"
        messages = self._messages(item, before)
        response = await self._client.post(
            f"{self._config.endpoint}/chat/completions", json={**self._request, "messages": messages}
        )
        if response.status_code >= _BAD_REQUEST or not response.is_success:
            raise ModelServiceError(response.status_code, code=_code_of(response.text), headers=response.headers)
        try:
            body = json.loads(response.content)
            choice = body["choices"][0]
            content, reason = choice["message"].get("content"), choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise TryLaterError("the service sent no answer that can be read") from None
        metadata = self._spend(item, body, messages, content)
        return Annotation(self._read(before, content, reason, choice), metadata)

    def estimate_tokens(self, item: DataItem) -> int:
        """At most about so many tokens has a call for this row, both ways."""
        return _tokens(self._messages(item, _unusable(item.error))) + self._config.most_output_tokens

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _messages(self, item: DataItem, before: UnusableAnswerError | None) -> list[dict[str, str]]:
        config = self._config
        messages = []
        system = "" if config.system is None else _fill(config.system, item)
        if config.answer_format is not AnswerFormat.SCHEMA:
            schema = json.dumps(self._reader.schema, ensure_ascii=False)
            system = f"{system}\n\nAnswer with one JSON object that fits this JSON Schema, and nothing else:\n{schema}"
        if system:
            messages.append({"role": "system", "content": system.strip()})
        messages.append({"role": "user", "content": _fill(config.prompt, item)})
        if before is not None:
            again = f"This cannot be used: {before.fault}. Answer again, with JSON that fits, and nothing else."
            messages.append({"role": "assistant", "content": before.answer})
            messages.append({"role": "user", "content": again})
        return messages

    def _spend(
        self, item: DataItem, body: Mapping[str, Any], messages: list[dict[str, str]], content: object
    ) -> dict[str, Any]:
        """Note what the call has cost; where the service does not say, what it may have cost."""
        said = body.get("usage")
        said = said if isinstance(said, dict) else {}
        sent, answered = said.get("prompt_tokens"), said.get("completion_tokens")
        sent = sent if type(sent) is int and sent >= 0 else _tokens(messages)
        if type(answered) is not int or answered < 0:
            answered = len(content) // _CHARACTERS_A_TOKEN + 1 if isinstance(content, str) else 0
        price = self._config.price
        cost = (
            0.0 if price is None else (sent * price.input_per_million + answered * price.output_per_million) / _MILLION
        )
        item.spend(input_tokens=sent, output_tokens=answered, cost=cost)
        usage = item.usage
        return {
            "model": str(body.get("model") or self._config.model),
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            **({} if price is None else {"cost": usage.cost}),
        }

    def _read(
        self, before: UnusableAnswerError | None, content: object, reason: object, choice: Mapping[str, Any]
    ) -> dict[str, Any]:
        if reason == "content_filter" or choice["message"].get("refusal"):
            raise GiveUpError("the model refused to answer")
        text = content if isinstance(content, str) else ""
        answer = self._reader.read(text)
        if not isinstance(answer, str):
            return answer
        repairs = 0 if before is None else before.repairs + 1
        fault = f"it was cut off at {self._config.most_output_tokens} tokens" if reason == "length" else answer
        if repairs >= self._config.repairs:
            raise GiveUpError(f"the model's answer cannot be used: {fault}")
        raise UnusableAnswerError(fault, answer=text, repairs=repairs)


def _unusable(error: BaseException | None) -> UnusableAnswerError | None:
    """The last answer of the model, if it could not be used; failures of the service since then do not change that."""
    while error is not None and not isinstance(error, UnusableAnswerError):
        error = error.__cause__
    return error


def _fill(template: str, item: DataItem) -> str:
    return filled(template, {name: _text(item.data.get(name)) for name in columns_of(template)})


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _tokens(messages: list[dict[str, str]]) -> int:
    return sum(len(message["content"]) // _CHARACTERS_A_TOKEN + 4 for message in messages)


def _code_of(text: str) -> str | None:
    """The service's own word for an error, if it is a word."""
    try:
        error = json.loads(text)["error"]
        codes = [error.get("code"), error.get("type")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return next((code for code in codes if isinstance(code, str) and _CODE.fullmatch(code)), None)
