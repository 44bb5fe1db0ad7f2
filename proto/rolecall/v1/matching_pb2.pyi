from google.rpc import status_pb2 as _status_pb2
from rolecall.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Metric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_UNSPECIFIED: _ClassVar[Metric]
    METRIC_COSINE: _ClassVar[Metric]
    METRIC_DOT: _ClassVar[Metric]
    METRIC_EUCLIDEAN: _ClassVar[Metric]

class ExplainLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPLAIN_LEVEL_UNSPECIFIED: _ClassVar[ExplainLevel]
    EXPLAIN_LEVEL_NONE: _ClassVar[ExplainLevel]
    EXPLAIN_LEVEL_FACTORS: _ClassVar[ExplainLevel]
    EXPLAIN_LEVEL_EVIDENCE: _ClassVar[ExplainLevel]

class GateResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GATE_RESULT_UNSPECIFIED: _ClassVar[GateResult]
    GATE_RESULT_PASS: _ClassVar[GateResult]
    GATE_RESULT_FAIL: _ClassVar[GateResult]
    GATE_RESULT_UNKNOWN: _ClassVar[GateResult]

class EmbedKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBED_KIND_UNSPECIFIED: _ClassVar[EmbedKind]
    EMBED_KIND_QUERY: _ClassVar[EmbedKind]
    EMBED_KIND_DOCUMENT: _ClassVar[EmbedKind]

class EmbeddingFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMBEDDING_FORMAT_UNSPECIFIED: _ClassVar[EmbeddingFormat]
    EMBEDDING_FORMAT_FLOAT32: _ClassVar[EmbeddingFormat]
    EMBEDDING_FORMAT_FLOAT16: _ClassVar[EmbeddingFormat]
METRIC_UNSPECIFIED: Metric
METRIC_COSINE: Metric
METRIC_DOT: Metric
METRIC_EUCLIDEAN: Metric
EXPLAIN_LEVEL_UNSPECIFIED: ExplainLevel
EXPLAIN_LEVEL_NONE: ExplainLevel
EXPLAIN_LEVEL_FACTORS: ExplainLevel
EXPLAIN_LEVEL_EVIDENCE: ExplainLevel
GATE_RESULT_UNSPECIFIED: GateResult
GATE_RESULT_PASS: GateResult
GATE_RESULT_FAIL: GateResult
GATE_RESULT_UNKNOWN: GateResult
EMBED_KIND_UNSPECIFIED: EmbedKind
EMBED_KIND_QUERY: EmbedKind
EMBED_KIND_DOCUMENT: EmbedKind
EMBEDDING_FORMAT_UNSPECIFIED: EmbeddingFormat
EMBEDDING_FORMAT_FLOAT32: EmbeddingFormat
EMBEDDING_FORMAT_FLOAT16: EmbeddingFormat

class MatchRequest(_message.Message):
    __slots__ = ("request_id", "query", "documents", "top_k", "min_score", "metric", "explain", "truncation", "weights", "redact", "priority", "model", "model_version")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    REDACT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    query: _types_pb2.Profile
    documents: _containers.RepeatedCompositeFieldContainer[_types_pb2.Profile]
    top_k: int
    min_score: float
    metric: Metric
    explain: ExplainLevel
    truncation: _types_pb2.Truncation
    weights: ScoringWeights
    redact: bool
    priority: _types_pb2.Priority
    model: str
    model_version: str
    def __init__(self, request_id: _Optional[str] = ..., query: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ..., documents: _Optional[_Iterable[_Union[_types_pb2.Profile, _Mapping]]] = ..., top_k: _Optional[int] = ..., min_score: _Optional[float] = ..., metric: _Optional[_Union[Metric, str]] = ..., explain: _Optional[_Union[ExplainLevel, str]] = ..., truncation: _Optional[_Union[_types_pb2.Truncation, str]] = ..., weights: _Optional[_Union[ScoringWeights, _Mapping]] = ..., redact: _Optional[bool] = ..., priority: _Optional[_Union[_types_pb2.Priority, str]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class ScoringWeights(_message.Message):
    __slots__ = ("weights",)
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    weights: _containers.ScalarMap[str, float]
    def __init__(self, weights: _Optional[_Mapping[str, float]] = ...) -> None: ...

class MatchResponse(_message.Message):
    __slots__ = ("request_id", "results", "model", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    results: _containers.RepeatedCompositeFieldContainer[MatchResult]
    model: _types_pb2.ModelStamp
    timing: _types_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[MatchResult, _Mapping]]] = ..., model: _Optional[_Union[_types_pb2.ModelStamp, _Mapping]] = ..., timing: _Optional[_Union[_types_pb2.Timing, _Mapping]] = ...) -> None: ...

class MatchResult(_message.Message):
    __slots__ = ("document_id", "index", "score", "calibrated_score", "status", "factors", "evidence", "matched_skills", "missing_skills", "gates", "usage", "cache_hit", "duplicate_of")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_SCORE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    MATCHED_SKILLS_FIELD_NUMBER: _ClassVar[int]
    MISSING_SKILLS_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CACHE_HIT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_OF_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    index: int
    score: float
    calibrated_score: float
    status: _status_pb2.Status
    factors: _containers.RepeatedCompositeFieldContainer[Factor]
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    matched_skills: _containers.RepeatedScalarFieldContainer[str]
    missing_skills: _containers.RepeatedScalarFieldContainer[str]
    gates: _containers.RepeatedCompositeFieldContainer[Gate]
    usage: _types_pb2.TokenUsage
    cache_hit: bool
    duplicate_of: int
    def __init__(self, document_id: _Optional[str] = ..., index: _Optional[int] = ..., score: _Optional[float] = ..., calibrated_score: _Optional[float] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., factors: _Optional[_Iterable[_Union[Factor, _Mapping]]] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., matched_skills: _Optional[_Iterable[str]] = ..., missing_skills: _Optional[_Iterable[str]] = ..., gates: _Optional[_Iterable[_Union[Gate, _Mapping]]] = ..., usage: _Optional[_Union[_types_pb2.TokenUsage, _Mapping]] = ..., cache_hit: _Optional[bool] = ..., duplicate_of: _Optional[int] = ...) -> None: ...

class Factor(_message.Message):
    __slots__ = ("name", "score", "weight", "contribution")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    score: float
    weight: float
    contribution: float
    def __init__(self, name: _Optional[str] = ..., score: _Optional[float] = ..., weight: _Optional[float] = ..., contribution: _Optional[float] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("requirement", "evidence", "similarity", "spans")
    REQUIREMENT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    requirement: str
    evidence: str
    similarity: float
    spans: _containers.RepeatedCompositeFieldContainer[_types_pb2.Span]
    def __init__(self, requirement: _Optional[str] = ..., evidence: _Optional[str] = ..., similarity: _Optional[float] = ..., spans: _Optional[_Iterable[_Union[_types_pb2.Span, _Mapping]]] = ...) -> None: ...

class Gate(_message.Message):
    __slots__ = ("name", "result", "evidence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    result: GateResult
    evidence: Evidence
    def __init__(self, name: _Optional[str] = ..., result: _Optional[_Union[GateResult, str]] = ..., evidence: _Optional[_Union[Evidence, _Mapping]] = ...) -> None: ...

class MatchStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: MatchRequest
    def __init__(self, request: _Optional[_Union[MatchRequest, _Mapping]] = ...) -> None: ...

class MatchStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "status")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: MatchResponse
    status: _status_pb2.Status
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[MatchResponse, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("request_id", "inputs", "kind", "truncation", "format", "redact", "priority", "model", "model_version")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    REDACT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    inputs: _containers.RepeatedCompositeFieldContainer[_types_pb2.Profile]
    kind: EmbedKind
    truncation: _types_pb2.Truncation
    format: EmbeddingFormat
    redact: bool
    priority: _types_pb2.Priority
    model: str
    model_version: str
    def __init__(self, request_id: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[_types_pb2.Profile, _Mapping]]] = ..., kind: _Optional[_Union[EmbedKind, str]] = ..., truncation: _Optional[_Union[_types_pb2.Truncation, str]] = ..., format: _Optional[_Union[EmbeddingFormat, str]] = ..., redact: _Optional[bool] = ..., priority: _Optional[_Union[_types_pb2.Priority, str]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("request_id", "embeddings", "model", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    model: _types_pb2.ModelStamp
    timing: _types_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., model: _Optional[_Union[_types_pb2.ModelStamp, _Mapping]] = ..., timing: _Optional[_Union[_types_pb2.Timing, _Mapping]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("index", "status", "vector", "dimensions", "format", "usage", "cache_hit")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CACHE_HIT_FIELD_NUMBER: _ClassVar[int]
    index: int
    status: _status_pb2.Status
    vector: bytes
    dimensions: int
    format: EmbeddingFormat
    usage: _types_pb2.TokenUsage
    cache_hit: bool
    def __init__(self, index: _Optional[int] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., vector: _Optional[bytes] = ..., dimensions: _Optional[int] = ..., format: _Optional[_Union[EmbeddingFormat, str]] = ..., usage: _Optional[_Union[_types_pb2.TokenUsage, _Mapping]] = ..., cache_hit: _Optional[bool] = ...) -> None: ...

class AnalyzeProfileRequest(_message.Message):
    __slots__ = ("request_id", "profile", "redact")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    REDACT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    profile: _types_pb2.Profile
    redact: bool
    def __init__(self, request_id: _Optional[str] = ..., profile: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ..., redact: _Optional[bool] = ...) -> None: ...

class AnalyzeProfileResponse(_message.Message):
    __slots__ = ("request_id", "skills", "years_experience", "education", "languages", "locations", "model", "timing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    YEARS_EXPERIENCE_FIELD_NUMBER: _ClassVar[int]
    EDUCATION_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    skills: _containers.RepeatedCompositeFieldContainer[FoundSkill]
    years_experience: float
    education: _containers.RepeatedScalarFieldContainer[str]
    languages: _containers.RepeatedScalarFieldContainer[str]
    locations: _containers.RepeatedScalarFieldContainer[str]
    model: _types_pb2.ModelStamp
    timing: _types_pb2.Timing
    def __init__(self, request_id: _Optional[str] = ..., skills: _Optional[_Iterable[_Union[FoundSkill, _Mapping]]] = ..., years_experience: _Optional[float] = ..., education: _Optional[_Iterable[str]] = ..., languages: _Optional[_Iterable[str]] = ..., locations: _Optional[_Iterable[str]] = ..., model: _Optional[_Union[_types_pb2.ModelStamp, _Mapping]] = ..., timing: _Optional[_Union[_types_pb2.Timing, _Mapping]] = ...) -> None: ...

class FoundSkill(_message.Message):
    __slots__ = ("name", "taxonomy_id", "spans")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TAXONOMY_ID_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    name: str
    taxonomy_id: str
    spans: _containers.RepeatedCompositeFieldContainer[_types_pb2.Span]
    def __init__(self, name: _Optional[str] = ..., taxonomy_id: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[_types_pb2.Span, _Mapping]]] = ...) -> None: ...
