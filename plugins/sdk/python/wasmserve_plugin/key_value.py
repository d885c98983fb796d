"""Key-value pairs that outlive a decision.

    with Bucket.open("default") as bucket:
        visits = bucket.increment(user, 1)

Needs `grants = ["key-value"]` in the chain, and `import wasi:keyvalue/store@0.2.0-draft;` and
`import wasi:keyvalue/atomics@0.2.0-draft;` in the plugin's world.

Pairs are the site's: they outlive a reload and end with the server, or when the operator's time to live is over, or when
there is no room. So keep nothing here that must not be lost. A decision that used a bucket is never reused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from componentize_py_types import Err
from wit_world.imports import atomics
from wit_world.imports import wasi_keyvalue_store as store


class Bucket:
    """A collection of pairs. Every method raises `RuntimeError` when the store cannot be reached."""

    def __init__(self, bucket: store.Bucket) -> None:
        self._bucket = bucket

    @classmethod
    def open(cls, name: str) -> Self:
        """`default` is the plugin's own. Others are shared with the plugins of the site that the operator grants the same
        name: `[policy.key-value] buckets = ["name"]`. Raises `RuntimeError` when there is no such bucket, or it is not
        granted."""
        with _reasons():
            return cls(store.open(name))

    def get(self, key: str) -> bytes | None:
        """The value of a key; `None` when there is no pair."""
        with _reasons():
            return self._bucket.get(key)

    def set(self, key: str, value: bytes) -> None:
        """Makes or replaces a pair. Its time to live, when the operator set one, begins anew. A key has at most 1 KiB."""
        with _reasons():
            self._bucket.set(key, value)

    def delete(self, key: str) -> None:
        """Removes a pair, if it is there."""
        with _reasons():
            self._bucket.delete(key)

    def exists(self, key: str) -> bool:
        """Whether there is a pair of this key."""
        with _reasons():
            return self._bucket.exists(key)

    def increment(self, key: str, delta: int) -> int:
        """Adds to a number that is kept as decimal digits, and gives the sum; a key that is not there counts as 0. Atomic:
        whoever else adds at the same time, nothing is lost. The time to live goes on from the first time."""
        with _reasons():
            return atomics.increment(self._bucket, key, delta)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._bucket.__exit__(kind, error, trace)


@contextmanager
def _reasons() -> Iterator[None]:
    """What the contract calls an error, raised as one."""
    try:
        yield
    except Err as error:
        reason = getattr(error.value, "value", None) or type(error.value).__name__
        raise RuntimeError(f"the key-value store says: {reason}") from error
