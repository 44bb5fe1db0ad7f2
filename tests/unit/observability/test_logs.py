import json
import logging

import pytest
from rolecall_server.observability.logs import ConsoleFormatter, JsonFormatter


def record(message="said", *, error=None, **fields):
    made = logging.LogRecord("rolecall.test", logging.INFO, __file__, 1, message, None, None)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    if error is not None:
        made.exc_info = (type(error), error, error.__traceback__)
    vars(made).update(fields)
    return made


def raised(secret):
    try:
        raise ValueError(secret)
    except ValueError as error:
        return error


def test_a_line_is_one_object_with_time_and_fields():
    line = JsonFormatter().format(record(code="OK", seconds=0.5, path=object))

    assert "\n" not in line
    found = json.loads(line)
    assert found["time"] == "2023-11-14T22:13:20.250Z"
    assert (found["level"], found["logger"], found["message"]) == ("info", "rolecall.test", "said")
    assert (found["code"], found["seconds"]) == ("OK", 0.5)
    assert "object" in found["path"]
    assert found.keys() == {"time", "level", "logger", "message", "code", "seconds", "path"}


def test_a_line_for_people_has_the_same_fields():
    assert ConsoleFormatter().format(record(code="OK")) == "22:13:20 info     said code=OK"
    assert ConsoleFormatter().format(record()) == "22:13:20 info     said"


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_an_exception_is_told_by_type_and_place_without_its_words(formatter):
    line = formatter.format(record(error=raised("Zaphod's resume")))

    assert "Zaphod" not in line
    assert "ValueError at " in line
    assert "test_logs.py" in line
    assert " raised" in line


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
@pytest.mark.parametrize("identifier", ["r\n22:13:20 info     forged", "r\x1b[2J", "r\u2028x", "r\x00"])
def test_what_a_client_chose_cannot_begin_a_line_or_drive_a_terminal(formatter, identifier):
    line = formatter.format(record(request_id=identifier))

    assert line.splitlines()[0].isprintable() or isinstance(formatter, JsonFormatter)
    assert "\n" not in line
    assert "\x1b" not in line


def test_other_languages_stay_readable():
    assert "request_id=请求" in ConsoleFormatter().format(record(request_id="请求"))
    assert "请求" in JsonFormatter().format(record(request_id="请求"))
