"""What the server says of itself and of its limits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Every limit a client can run into; names and meanings are those of the contract's ServerLimits. 0 means none,
    except for the first three and `max_stream_inflight`, which transport enforces and which must be positive."""

    max_message_bytes: int
    max_documents: int
    max_text_chars: int
    max_stream_inflight: int
    max_concurrent_requests: int = 0
    max_queue_tokens: int = 0
    max_batch_tokens: int = 0
    max_batch_requests: int = 0
    max_running_sequences: int = 0
    default_deadline_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """version: of this package. backend: `embedded`, `triton` or `fake`."""

    version: str
    backend: str
    limits: ServerLimits
