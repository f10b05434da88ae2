"""Asks an endpoint about files and batches again after faults, as long as there is patience."""

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay

from blackbox_kd.calls.batch.jobs import Limits
from blackbox_kd.calls.retries import end_for_pause
from blackbox_kd.errors import ServerFault
from blackbox_kd.schema import T


async def ask_patiently(ask: Callable[[], Awaitable[T]], limits: Limits) -> T:
    """An answer, asked for again after faults of the server.

    Raises:
        CallError: the last fault; QuotaSpent where the endpoint wants a longer pause than is waited for.
    """

    async def ask_again() -> T:
        try:
            return await ask()
        except ServerFault as fault:
            if (end := end_for_pause(fault, limits.patience_s)) is not None:
                raise end from fault
            raise

    def wait_s(state: RetryCallState) -> float:
        """As many seconds as it wants, or more and more."""
        error = state.outcome and state.outcome.exception()
        wanted_s = error.retry_after_s if isinstance(error, ServerFault) else None
        return wanted_s or min(limits.longest_look_s, limits.fault_s * 2.0 ** (state.attempt_number - 1))

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(ServerFault),
        wait=wait_s,
        stop=stop_after_delay(limits.patience_s),
        reraise=True,
    )
    return await retrying(ask_again)
