"""What must not be left half done is waited for, and then the cancellation counts."""

from __future__ import annotations

import asyncio

import pytest

from datalake_service.annotating.uninterrupted import uninterrupted


def test_the_result_is_returned() -> None:
    """Without a cancellation it is a plain wait."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        return await uninterrupted(loop.run_in_executor(None, lambda: 42))

    assert asyncio.run(main()) == 42


def test_the_error_is_raised() -> None:
    """As from a plain wait."""

    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await uninterrupted(future)

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_a_cancellation_waits_for_the_end(error: Exception | None) -> None:
    """However often it is cancelled; an error of the future is the cause."""

    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(uninterrupted(future))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert task.cancelled()
        assert raised.value.__cause__ is error or error is None

    asyncio.run(main())
