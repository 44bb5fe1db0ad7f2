"""How long tokens take, learnt from the batches that ran. Pure: time is an argument."""

TRUSTED_TOKENS = 2048
"""Tokens to be measured before an estimate counts: the first batches warm up, tiny ones are all overhead."""

STALE_SECONDS = 10.0
"""An estimate is forgotten when nothing ran for so long. Refusals rest on estimates and only batches renew these, so
one bad sample could otherwise shut an idle server for good."""

_MEMORY = 0.95
"""What a batch's weight becomes with each batch after it."""


class Cost:
    """Seconds of one worker for each padded token: all seconds over all tokens, recent batches counting most."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0
        self._last = 0.0

    def note(self, tokens: int, seconds: float, *, now: float) -> None:
        """One batch of so many padded tokens ran for so long."""
        if now - self._last > STALE_SECONDS:
            self._tokens = self._seconds = 0.0
        self._tokens = _MEMORY * self._tokens + tokens
        self._seconds = _MEMORY * self._seconds + seconds
        self._last = now

    def seconds(self, tokens: float, *, now: float) -> float:
        """How long one worker needs for so many tokens; 0 where nothing is known that counts."""
        if self._tokens < TRUSTED_TOKENS or now - self._last > STALE_SECONDS:
            return 0.0
        return tokens * self._seconds / self._tokens
