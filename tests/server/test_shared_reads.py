"""Equal reads that are under way together are one; a later one is another."""

import asyncio

import pytest

from expound_server.shared_reads import SharedReads


class Reading:
    """A read that waits until the test lets it end, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        await self.may_end.wait()
        return self.begun


async def test_equal_reads_are_one_while_it_is_under_way() -> None:
    reads, reading, other = SharedReads[int](), Reading(), Reading()
    asked = [asyncio.create_task(reads.read("a", reading)) for _ in range(3)]
    asked.append(asyncio.create_task(reads.read("b", other)))
    await asyncio.sleep(0)
    asked[0].cancel()
    reading.may_end.set()
    other.may_end.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [1, 1, 1]
    assert (reading.begun, other.begun) == (1, 1)
    assert await reads.read("a", reading) == 2


async def test_what_a_read_raises_is_raised_to_all_and_kept_for_none() -> None:
    async def fails() -> int:
        raise ValueError

    async def gives() -> int:
        return 7

    reads = SharedReads[int]()
    failed = await asyncio.gather(
        *(reads.read("a", fails) for _ in range(2)), return_exceptions=True
    )
    assert [type(error) for error in failed] == [ValueError, ValueError]
    with pytest.raises(ValueError, match=r"^$"):
        await reads.read("a", fails)
    assert await reads.read("a", gives) == 7
