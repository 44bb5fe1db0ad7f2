"""The only reader of the environment and of flags. Everything else gets the few values it needs."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from rolecall_server.hardware import usable_cores

PREFIX = "ROLECALL_"

_OTHERS = frozenset({"ROLECALL_CACHE", "ROLECALL_PYTHON", "ROLECALL_REQUIRE_ALL"})
"""Variables of the export, of the tools and of the tests."""


class Settings(BaseSettings):
    """Every field is a flag (`--max-batch-tokens`) and an environment variable (`ROLECALL_MAX_BATCH_TOKENS`)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_prog_name="rolecall serve",
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )

    backend: Literal["embedded", "fake", "triton"] = Field("embedded", description="what runs the models")
    model_repository: Path = Field(Path("model_repository"), description="folder of models, as the export writes it")
    model_version: str = Field("", description="version of the encoder to load; the newest where empty")
    generator_version: str = Field("", description="version of the generator to load; the newest where empty")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(50051, description="gRPC port; 0 takes a free one")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(9464, description="Prometheus port; 0 takes a free one")

    max_concurrent_requests: PositiveInt = Field(512, description="requests under way before others are refused")
    max_batch_tokens: PositiveInt = Field(16384, description="padded tokens of a batch; the engine may prefer fewer")
    max_batch_requests: PositiveInt = Field(128, description="sequences of a batch")
    max_client_batch_size: PositiveInt = Field(1024, description="documents of a Match, inputs of an Embed")
    max_queue_delay_us: Annotated[int, Field(ge=0)] = Field(
        2000, description="longest wait for company while a worker is idle; shorter when nobody is expected"
    )
    max_queue_tokens: PositiveInt = Field(1048576, description="tokens waiting before requests are refused")
    max_text_chars: PositiveInt = Field(1000000, description="characters of one profile")
    max_stream_inflight: PositiveInt = Field(16, description="messages of one MatchStream worked on at a time")
    default_deadline_ms: PositiveInt = Field(30000, description="for requests that come without a deadline")
    tokenization_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="threads that tokenise; 0: half the cores, at least 2"
    )
    embedding_cache_mb: Annotated[int, Field(ge=0)] = Field(256, description="bytes kept for embeddings; 0: none")
    payload_limit: PositiveInt = Field(33554432, description="bytes of one message, either way")

    engine_workers: Annotated[int, Field(ge=0)] = Field(0, description="batches run at a time; 0: chosen by cores")
    intra_op_threads: Annotated[int, Field(ge=0)] = Field(0, description="threads of one batch; 0: chosen by cores")
    providers: str = Field("auto", description="execution providers by preference, for example CUDA,CPU")
    gpu_memory_limit_mb: Annotated[int, Field(ge=0)] = Field(0, description="of the CUDA arena; 0: no limit")
    cuda_graphs: bool = Field(
        False, description="replay the steps of generation on a GPU as one launch each; for servers that only generate"
    )

    max_running_sequences: PositiveInt = Field(
        32, description="sequences generated at a time; a beam search takes num_beams of them"
    )
    kv_cache_mb: PositiveInt = Field(
        2048, description="caches of a generator's sequences at most; fewer are taken at a time where it is too little"
    )
    generation_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="threads that generate, each its own batch; 0: one a core"
    )
    generation_niceness: Annotated[int, Field(ge=0, le=19)] = Field(
        5, description="how far the threads that generate stand back behind matching"
    )
    generation_prefill_tokens: PositiveInt = Field(
        512, description="padded source tokens read between two steps of running generations"
    )

    exit_timeout_secs: Annotated[float, Field(gt=0)] = Field(30.0, description="for accepted requests after SIGTERM")
    drain_delay_secs: Annotated[float, Field(ge=0)] = Field(
        0.0, description="between NOT_SERVING and the refusal of new requests, for balancers to notice"
    )
    allow_model_control: bool = Field(False, description="allow LoadModel and UnloadModel")
    log_format: Literal["json", "console"] = Field("console", description="shape of a log line")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")

    def tokenization_threads(self) -> int:
        return self.tokenization_workers or max(2, usable_cores() // 2)


def variable_of(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none: a name misspelt, most likely."""
    known = _OTHERS.union(map(variable_of, Settings.model_fields))
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
