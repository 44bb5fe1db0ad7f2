import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_SHOWN: _ClassVar[Outcome]
    OUTCOME_OPENED: _ClassVar[Outcome]
    OUTCOME_APPLIED: _ClassVar[Outcome]
    OUTCOME_INTERVIEWED: _ClassVar[Outcome]
    OUTCOME_HIRED: _ClassVar[Outcome]
    OUTCOME_REJECTED: _ClassVar[Outcome]
    OUTCOME_OVERRIDDEN: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_SHOWN: Outcome
OUTCOME_OPENED: Outcome
OUTCOME_APPLIED: Outcome
OUTCOME_INTERVIEWED: Outcome
OUTCOME_HIRED: Outcome
OUTCOME_REJECTED: Outcome
OUTCOME_OVERRIDDEN: Outcome

class RecordFeedbackRequest(_message.Message):
    __slots__ = ("request_id", "document_id", "outcome", "event_time")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    document_id: str
    outcome: Outcome
    event_time: _timestamp_pb2.Timestamp
    def __init__(self, request_id: _Optional[str] = ..., document_id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RecordFeedbackResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
