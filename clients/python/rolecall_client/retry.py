"""The retries that a service config can't express: after RESOURCE_EXHAUSTED, for who asks, and in a stream."""

import random

from rolecall_client.errors import OverloadedError, RolecallError, UnavailableError

_FIRST_OVERLOAD_DELAY = 0.2
_FIRST_UNAVAILABLE_DELAY = 0.1  # this and the number of tries are those of the service config
_UNAVAILABLE_RETRIES = 3


def overload_delay(error: RolecallError, attempt: int, *, allowed: int, remaining: float) -> float | None:
    """Seconds to wait before the next try, or None to give up.

    attempt: failed tries before this one. remaining: seconds to the call's deadline. Follows the server's RetryInfo,
    else doubles from 0.2 s; up to half as much again at random, so that refused callers don't come back all at once.
    """
    if not isinstance(error, OverloadedError) or attempt >= allowed:
        return None
    return _delay(error, attempt, first=_FIRST_OVERLOAD_DELAY, remaining=remaining)


def message_delay(error: RolecallError, attempt: int, *, overload_retries: int, remaining: float) -> float | None:
    """The same for one message of a stream, whose UNAVAILABLE no service config retries.

    attempt: failed tries before this one, of the same kind.
    """
    if not isinstance(error, UnavailableError):
        return overload_delay(error, attempt, allowed=overload_retries, remaining=remaining)
    if attempt >= _UNAVAILABLE_RETRIES:
        return None
    return _delay(error, attempt, first=_FIRST_UNAVAILABLE_DELAY, remaining=remaining)


def _delay(error: RolecallError, attempt: int, *, first: float, remaining: float) -> float | None:
    base = error.retry_after if error.retry_after is not None else first * 2.0**attempt
    delay = base * random.uniform(1.0, 1.5)
    return delay if delay < remaining else None
