"""Log lines as JSON or for a terminal. Fields come through `extra`; none ever holds a user's text."""

import json
import logging
import sys
import time
from typing import Literal

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Fields(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class JsonFormatter(_Fields):
    """One object a line: time (UTC), level, logger, message, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.fields(record),
        }
        if record.exc_info:
            line["exception"] = trace(record)
        return json.dumps(line, ensure_ascii=False, default=str)


class ConsoleFormatter(_Fields):
    def format(self, record: logging.LogRecord) -> str:
        time_of_day = self.formatTime(record, "%H:%M:%S")
        fields = " ".join(f"{name}={_one_line(value)}" for name, value in self.fields(record).items())
        line = f"{time_of_day} {record.levelname.lower():8} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{trace(record)}" if record.exc_info else line


def _one_line(value: object) -> str:
    """A field as text; what a client chose (its request id) can't begin a line or move the cursor."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text, ensure_ascii=True)


def trace(record: logging.LogRecord) -> str:
    """Type and frames of the exception, without its message, which may hold what a user sent."""
    kind, _, traceback = record.exc_info or (None, None, None)
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return f"{kind.__name__ if kind else 'exception'} at {' < '.join(reversed(frames))}"


def configure(style: Literal["json", "console"], level: str) -> None:
    """Send everything at `level` and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else ConsoleFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
