"""The service config that ships with the package."""

import json

from rolecall_client.channel import channel_options, service_config


def test_only_unavailable_is_retried_and_throttled():
    config = json.loads(service_config())
    policies = [method["retryPolicy"] for method in config["methodConfig"] if "retryPolicy" in method]
    assert [policy["retryableStatusCodes"] for policy in policies] == [["UNAVAILABLE"]]
    assert config["retryThrottling"]["maxTokens"] > 0
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]


def test_calls_that_change_something_are_not_retried():
    config = json.loads(service_config())
    retried = [name for method in config["methodConfig"] if "retryPolicy" in method for name in method["name"]]
    assert {"service": "rolecall.v1.MatchingService"} in retried
    exempt = [name for method in config["methodConfig"] if "retryPolicy" not in method for name in method["name"]]
    assert {"service": "rolecall.v1.ModelService", "method": "LoadModel"} in exempt


def test_the_callers_options_win():
    options = channel_options(1000, [("grpc.keepalive_time_ms", 5)])
    assert dict(options)["grpc.keepalive_time_ms"] == 5
    assert dict(options)["grpc.max_receive_message_length"] == 1000
