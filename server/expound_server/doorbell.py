"""The doorbell: one subscription a process tells all waiting calls that something happened."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterator

import msgpack
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from expound.records import ANSWERS, DOORBELL, DOORBELL_PROGRESS
from expound_server.cancellation import check_cancelled
from expound_server.record import Answer, answer

_log = logging.getLogger(__name__)

_RECONNECT_DELAY_S = 0.5
_CHECK_S = 1.0
# A ring can be lost with its connection; who waits looks again so often in any case.
_LOOK_AGAIN_S = 10.0


class Bell:
    """The bell of one explanation, for all who wait for it.

    Attributes:
        last_ring: number of its last ring; compare it before and after a look.
        has_ended: whether it has rung for the end of its explanation.
        answer: the answer of the explanation, where it has come with the ring of its end.
    """

    def __init__(self, last_ring: int) -> None:
        self.last_ring = last_ring
        self.has_ended = False
        self.answer: Answer | None = None
        self.listeners = 0
        self._rung = asyncio.Event()

    def ring(self, number: int) -> None:
        """Wakes all who wait."""
        self.last_ring = number
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, seen_ring: int, timeout_s: float = _LOOK_AGAIN_S) -> None:
        """Waits for a ring behind the one seen, but not for ever: look again in any case."""
        check_cancelled()
        if self.last_ring == seen_ring:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(timeout_s, _LOOK_AGAIN_S)):
                    await self._rung.wait()


class Doorbell:
    """Rings the bells of those who wait for an explanation.

    A ring says no more than "look again", unless a small answer has come before it. Rings may be
    missed while the connection is away, so all bells ring when it is lost and when it is back. What
    happens before the end of an explanation is heard of only while somebody watches one.

    Attributes:
        name: name of this server, for those who send it answers.
    """

    def __init__(self, redis: Redis) -> None:
        self.name = secrets.token_hex(8)
        self._redis = redis
        self._bells: dict[tuple[str, bool], Bell] = {}
        self._rings = 0
        self._watchers = 0
        self._watched, self._unwatched = asyncio.Event(), asyncio.Event()

    @contextlib.contextmanager
    def bell(self, explanation_id: str, *, at_end: bool = False) -> Iterator[Bell]:
        """The bell that rings whenever something happens to the explanation, or at its end."""
        key = (explanation_id, at_end)
        bell = self._bells.setdefault(key, Bell(self._rings))
        bell.listeners += 1
        self._count_watchers(0 if at_end else 1)
        try:
            yield bell
        finally:
            self._count_watchers(0 if at_end else -1)
            bell.listeners -= 1
            if not bell.listeners:
                del self._bells[key]

    def _count_watchers(self, more: int) -> None:
        self._watchers += more
        if self._watchers:
            self._watched.set()
            self._unwatched.clear()
        else:
            self._watched.clear()
            self._unwatched.set()

    def ring(self, explanation_id: str, *, ended: bool) -> None:
        """Rings for one explanation."""
        # Counted even when nobody listens: no two looks behind different rings share a number.
        self._rings += 1
        for at_end in {False, ended}:
            if bell := self._bells.get((explanation_id, at_end)):
                bell.has_ended |= ended
                bell.ring(self._rings)

    def ring_all(self) -> None:
        """Rings for all: something may have happened that nobody told of."""
        self._rings += 1
        for bell in self._bells.values():
            bell.ring(self._rings)

    async def run(self) -> None:
        """Listens for ever, and connects again when the connection is lost."""
        while True:
            try:
                await self._listen()
            except RedisError as error:
                _log.debug("doorbell lost: %s", error)  # health tells of Redis, and once
                self.ring_all()
            check_cancelled()
            await asyncio.sleep(_RECONNECT_DELAY_S)

    async def _listen(self) -> None:
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(DOORBELL, ANSWERS + self.name)
            following = asyncio.create_task(self._follow_progress(subscription))
            try:
                await self._hear(subscription)
            finally:
                following.cancel()
                # What it failed with is no news: the reading has failed of it too.
                await asyncio.gather(following, return_exceptions=True)

    async def _hear(self, subscription: PubSub) -> None:
        ends, answers = DOORBELL.encode(), f"{ANSWERS}{self.name}".encode()
        while True:
            check_cancelled()
            # With a timeout, so that the connection is checked while nothing happens.
            message = await subscription.get_message(timeout=_CHECK_S)
            if message is None:
                continue
            if message["type"] != "message":
                # Subscribed, or subscribed again after a loss that the client mended itself.
                self.ring_all()
            elif message["channel"] == answers:
                self._take_answer(message["data"])
            else:
                self.ring(message["data"].decode(), ended=message["channel"] == ends)

    def _take_answer(self, packed: bytes) -> None:
        explanation_id, (fields, results) = msgpack.unpackb(packed, raw=True)
        if bell := self._bells.get((explanation_id.decode(), True)):
            bell.answer = answer(explanation_id.decode(), fields, results)

    async def _follow_progress(self, subscription: PubSub) -> None:
        """Subscribes to what comes before the ends while somebody watches."""
        while True:
            await self._watched.wait()
            # Should it fail, then so does the reading, and all begins anew.
            await subscription.subscribe(DOORBELL_PROGRESS)
            await self._unwatched.wait()
            await subscription.unsubscribe(DOORBELL_PROGRESS)
