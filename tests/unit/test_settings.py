"""Flags and environment: the same names, one precedence, nothing accepted that makes no sense."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from rolecall_server.settings import Settings

DOCUMENTED = {
    "backend",
    "model_repository",
    "host",
    "port",
    "metrics_port",
    "max_concurrent_requests",
    "max_batch_tokens",
    "max_batch_requests",
    "max_client_batch_size",
    "max_queue_delay_us",
    "max_queue_tokens",
    "default_deadline_ms",
    "tokenization_workers",
    "embedding_cache_mb",
    "payload_limit",
    "exit_timeout_secs",
    "drain_delay_secs",
    "allow_model_control",
    "log_format",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for field in Settings.model_fields:
        monkeypatch.delenv(f"ROLECALL_{field.upper()}", raising=False)


def flags(*arguments):
    return Settings(_cli_parse_args=list(arguments))


def test_every_documented_flag_is_there():
    assert set(Settings.model_fields) >= DOCUMENTED
    assert all(field.description for field in Settings.model_fields.values())


def test_the_defaults_stay_at_home():
    settings = Settings()

    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 50051, 9464)
    assert settings.backend == "embedded"
    assert settings.model_repository == Path("model_repository")
    assert not settings.allow_model_control


def test_a_flag_beats_the_environment_and_that_the_default(monkeypatch):
    monkeypatch.setenv("ROLECALL_PORT", "1234")
    monkeypatch.setenv("ROLECALL_MAX_BATCH_TOKENS", "77")

    assert Settings().port == 1234
    settings = flags("--port", "4321")
    assert (settings.port, settings.max_batch_tokens) == (4321, 77)


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [((), False), (("--allow-model-control",), True), (("--no-allow-model-control",), False)],
)
def test_a_switch_is_on_or_off(monkeypatch, arguments, allowed):
    assert flags(*arguments).allow_model_control is allowed
    monkeypatch.setenv("ROLECALL_ALLOW_MODEL_CONTROL", "true")
    assert flags(*arguments).allow_model_control is (allowed or not arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("max_concurrent_requests", 0),
        ("max_batch_tokens", 0),
        ("max_queue_delay_us", -1),
        ("default_deadline_ms", 0),
        ("exit_timeout_secs", 0),
        ("drain_delay_secs", -0.1),
        ("payload_limit", 0),
        ("backend", "cloud"),
        ("log_format", "xml"),
    ],
)
def test_what_makes_no_sense_is_refused(name, value):
    with pytest.raises(ValidationError) as caught:
        Settings(**{name: value})
    assert caught.value.errors()[0]["loc"] == (name,)


def test_other_variables_of_ours_are_left_alone(monkeypatch):
    monkeypatch.setenv("ROLECALL_REQUIRE_ALL", "1")

    assert "require_all" not in Settings().model_dump()


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        Settings().port = 1


@pytest.mark.parametrize(("given", "threads"), [(3, 3), (1, 1)])
def test_tokenisation_threads_can_be_chosen(given, threads):
    assert Settings(tokenization_workers=given).tokenization_threads() == threads
    assert Settings().tokenization_threads() >= 1
