"""The retries that a service config can't express: those after RESOURCE_EXHAUSTED, for callers who ask for them."""

import random

from rolecall_client.errors import OverloadedError, RolecallError

_FIRST_DELAY = 0.2


def overload_delay(error: RolecallError, attempt: int, *, allowed: int, remaining: float) -> float | None:
    """Seconds to wait before the next try, or None to give up.

    attempt: failed tries before this one. remaining: seconds to the call's deadline. Follows the server's RetryInfo,
    else doubles from 0.2 s; up to half as much again at random, so that refused callers don't come back all at once.
    """
    if not isinstance(error, OverloadedError) or attempt >= allowed:
        return None
    base = error.retry_after if error.retry_after is not None else _FIRST_DELAY * 2.0**attempt
    delay = base * random.uniform(1.0, 1.5)
    return delay if delay < remaining else None
