"""Several calls for one row at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from blackbox_kd.errors import CallError

T = TypeVar("T")


async def all_of(*calls: Coroutine[Any, Any, T]) -> list[T]:
    """What the calls bring, in their order.

    No call is broken off because another one failed: it may be paid for already, and its reply will be wanted when
    the row is worked on again.

    Raises:
        CallError: of the first call that failed; an error that ends the run comes before those of the row.
    """
    found = await asyncio.gather(*calls, return_exceptions=True)
    failed = [each for each in found if isinstance(each, BaseException)]
    for error in sorted(failed, key=lambda each: isinstance(each, CallError)):
        raise error
    return [each for each in found if not isinstance(each, BaseException)]
