"""Domain errors: what can go wrong, in terms of the domain. The status table at the edge gives each its code.

No error carries a user's text: `message` may name fields, limits, ids of models, nothing that came in a document.
"""


class RolecallError(Exception):
    """Base of all errors that a caller is meant to see.

    message: one sentence for the caller. retry_after: seconds after which a retry makes sense, None where none does.
    """

    retry_after: float | None = None

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retry_after is not None:
            self.retry_after = retry_after


class InvalidInputError(RolecallError):
    """The request, or one document of it, breaks the contract. `field` is its path, for example `documents[3].text`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.description = message


class OverloadedError(RolecallError):
    """Refused at admission. `reason` is a bounded label: `requests`, `tokens`, `quota`."""

    def __init__(self, message: str, *, reason: str, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.reason = reason


class DeadlineError(RolecallError):
    """The deadline passed in the queue, or can't be met; the work was never run."""


class DeadlinePassedError(DeadlineError):
    """The deadline passed while the request was worked on, wherever it was; its work was cancelled."""

    def __init__(self) -> None:
        super().__init__("the deadline passed before the answer was ready")


class UnavailableError(RolecallError):
    """Starting, draining, or the engine is gone. Safe to retry elsewhere or later."""

    retry_after = 1.0


class ModelNotFoundError(RolecallError):
    """No such model, or no such version of it, in the repository."""

    def __init__(self, name: str, version: str = "") -> None:
        self.resource = f"{name}/{version}" if version else name
        super().__init__(f"model {self.resource} is not in the repository")


class ModelNotLoadedError(RolecallError):
    """The version exists in the repository and is not loaded; without a version, none of the model's is."""

    def __init__(self, name: str, version: str = "") -> None:
        self.resource = f"{name}/{version}" if version else name
        super().__init__(f"model {self.resource} is not loaded")


class NotPermittedError(RolecallError):
    """The caller may not do this."""


class NotImplementedYetError(RolecallError):
    """Declared in the contract, not built yet."""


class EngineError(RolecallError):
    """The engine failed on a batch: our bug or a bad artifact. The message stays in the log; callers get an id."""


class NonFiniteOutputError(EngineError):
    """The model gave NaN or infinity for an input."""
