from rolecall.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EarlyStopping(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EARLY_STOPPING_UNSPECIFIED: _ClassVar[EarlyStopping]
    EARLY_STOPPING_FALSE: _ClassVar[EarlyStopping]
    EARLY_STOPPING_TRUE: _ClassVar[EarlyStopping]
    EARLY_STOPPING_NEVER: _ClassVar[EarlyStopping]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_EOS: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_CANCELLED: _ClassVar[FinishReason]
EARLY_STOPPING_UNSPECIFIED: EarlyStopping
EARLY_STOPPING_FALSE: EarlyStopping
EARLY_STOPPING_TRUE: EarlyStopping
EARLY_STOPPING_NEVER: EarlyStopping
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_EOS: FinishReason
FINISH_REASON_LENGTH: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_CANCELLED: FinishReason

class GenerateRequest(_message.Message):
    __slots__ = ("request_id", "language", "decoding", "redact", "priority", "model", "model_version", "truncation", "prompt", "explain_match", "summarize_resume", "optimize_resume", "write_job_description", "suggest_titles", "extract_skills", "career_advice", "chat")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    REDACT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_MATCH_FIELD_NUMBER: _ClassVar[int]
    SUMMARIZE_RESUME_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZE_RESUME_FIELD_NUMBER: _ClassVar[int]
    WRITE_JOB_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SUGGEST_TITLES_FIELD_NUMBER: _ClassVar[int]
    EXTRACT_SKILLS_FIELD_NUMBER: _ClassVar[int]
    CAREER_ADVICE_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    language: str
    decoding: Decoding
    redact: bool
    priority: _types_pb2.Priority
    model: str
    model_version: str
    truncation: _types_pb2.Truncation
    prompt: FreeText
    explain_match: ExplainMatch
    summarize_resume: SummarizeResume
    optimize_resume: OptimizeResume
    write_job_description: WriteJobDescription
    suggest_titles: SuggestTitles
    extract_skills: ExtractSkills
    career_advice: CareerAdvice
    chat: Chat
    def __init__(self, request_id: _Optional[str] = ..., language: _Optional[str] = ..., decoding: _Optional[_Union[Decoding, _Mapping]] = ..., redact: _Optional[bool] = ..., priority: _Optional[_Union[_types_pb2.Priority, str]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., truncation: _Optional[_Union[_types_pb2.Truncation, str]] = ..., prompt: _Optional[_Union[FreeText, _Mapping]] = ..., explain_match: _Optional[_Union[ExplainMatch, _Mapping]] = ..., summarize_resume: _Optional[_Union[SummarizeResume, _Mapping]] = ..., optimize_resume: _Optional[_Union[OptimizeResume, _Mapping]] = ..., write_job_description: _Optional[_Union[WriteJobDescription, _Mapping]] = ..., suggest_titles: _Optional[_Union[SuggestTitles, _Mapping]] = ..., extract_skills: _Optional[_Union[ExtractSkills, _Mapping]] = ..., career_advice: _Optional[_Union[CareerAdvice, _Mapping]] = ..., chat: _Optional[_Union[Chat, _Mapping]] = ...) -> None: ...

class FreeText(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class ExplainMatch(_message.Message):
    __slots__ = ("resume", "job")
    RESUME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    resume: _types_pb2.Profile
    job: _types_pb2.Profile
    def __init__(self, resume: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ..., job: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ...) -> None: ...

class SummarizeResume(_message.Message):
    __slots__ = ("resume",)
    RESUME_FIELD_NUMBER: _ClassVar[int]
    resume: _types_pb2.Profile
    def __init__(self, resume: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ...) -> None: ...

class OptimizeResume(_message.Message):
    __slots__ = ("resume", "job")
    RESUME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    resume: _types_pb2.Profile
    job: _types_pb2.Profile
    def __init__(self, resume: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ..., job: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ...) -> None: ...

class WriteJobDescription(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _types_pb2.Profile
    def __init__(self, job: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ...) -> None: ...

class SuggestTitles(_message.Message):
    __slots__ = ("profile", "skills", "top_k")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    profile: _types_pb2.Profile
    skills: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    def __init__(self, profile: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ..., skills: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ...) -> None: ...

class ExtractSkills(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: _types_pb2.Profile
    def __init__(self, profile: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ...) -> None: ...

class CareerAdvice(_message.Message):
    __slots__ = ("resume", "goal")
    RESUME_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    resume: _types_pb2.Profile
    goal: str
    def __init__(self, resume: _Optional[_Union[_types_pb2.Profile, _Mapping]] = ..., goal: _Optional[str] = ...) -> None: ...

class Chat(_message.Message):
    __slots__ = ("turns",)
    TURNS_FIELD_NUMBER: _ClassVar[int]
    turns: _containers.RepeatedCompositeFieldContainer[Turn]
    def __init__(self, turns: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("role", "text")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    role: str
    text: str
    def __init__(self, role: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Decoding(_message.Message):
    __slots__ = ("max_new_tokens", "min_new_tokens", "num_beams", "early_stopping", "length_penalty", "repetition_penalty", "no_repeat_ngram_size", "do_sample", "temperature", "top_k", "top_p", "seed", "num_return_sequences", "stop")
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MIN_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_BEAMS_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_FIELD_NUMBER: _ClassVar[int]
    LENGTH_PENALTY_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    NO_REPEAT_NGRAM_SIZE_FIELD_NUMBER: _ClassVar[int]
    DO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    NUM_RETURN_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    max_new_tokens: int
    min_new_tokens: int
    num_beams: int
    early_stopping: EarlyStopping
    length_penalty: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    seed: int
    num_return_sequences: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, max_new_tokens: _Optional[int] = ..., min_new_tokens: _Optional[int] = ..., num_beams: _Optional[int] = ..., early_stopping: _Optional[_Union[EarlyStopping, str]] = ..., length_penalty: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., no_repeat_ngram_size: _Optional[int] = ..., do_sample: _Optional[bool] = ..., temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ..., num_return_sequences: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("text", "score", "finish_reason", "token_count", "from_template")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    FROM_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    text: str
    score: float
    finish_reason: FinishReason
    token_count: int
    from_template: bool
    def __init__(self, text: _Optional[str] = ..., score: _Optional[float] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., token_count: _Optional[int] = ..., from_template: _Optional[bool] = ...) -> None: ...

class Grounding(_message.Message):
    __slots__ = ("unsupported",)
    UNSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    unsupported: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, unsupported: _Optional[_Iterable[str]] = ...) -> None: ...

class GenerateUsage(_message.Message):
    __slots__ = ("prompt_tokens", "truncated_tokens", "generated_tokens")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    truncated_tokens: int
    generated_tokens: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., truncated_tokens: _Optional[int] = ..., generated_tokens: _Optional[int] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("request_id", "candidates", "grounding", "usage", "model", "timing", "seed")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    GROUNDING_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    grounding: Grounding
    usage: GenerateUsage
    model: _types_pb2.ModelStamp
    timing: _types_pb2.Timing
    seed: int
    def __init__(self, request_id: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., grounding: _Optional[_Union[Grounding, _Mapping]] = ..., usage: _Optional[_Union[GenerateUsage, _Mapping]] = ..., model: _Optional[_Union[_types_pb2.ModelStamp, _Mapping]] = ..., timing: _Optional[_Union[_types_pb2.Timing, _Mapping]] = ..., seed: _Optional[int] = ...) -> None: ...

class GenerateStreamRequest(_message.Message):
    __slots__ = ("request_id", "language", "decoding", "redact", "priority", "model", "model_version", "truncation", "prompt", "explain_match", "summarize_resume", "optimize_resume", "write_job_description", "suggest_titles", "extract_skills", "career_advice", "chat")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    REDACT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_MATCH_FIELD_NUMBER: _ClassVar[int]
    SUMMARIZE_RESUME_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZE_RESUME_FIELD_NUMBER: _ClassVar[int]
    WRITE_JOB_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SUGGEST_TITLES_FIELD_NUMBER: _ClassVar[int]
    EXTRACT_SKILLS_FIELD_NUMBER: _ClassVar[int]
    CAREER_ADVICE_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    language: str
    decoding: Decoding
    redact: bool
    priority: _types_pb2.Priority
    model: str
    model_version: str
    truncation: _types_pb2.Truncation
    prompt: FreeText
    explain_match: ExplainMatch
    summarize_resume: SummarizeResume
    optimize_resume: OptimizeResume
    write_job_description: WriteJobDescription
    suggest_titles: SuggestTitles
    extract_skills: ExtractSkills
    career_advice: CareerAdvice
    chat: Chat
    def __init__(self, request_id: _Optional[str] = ..., language: _Optional[str] = ..., decoding: _Optional[_Union[Decoding, _Mapping]] = ..., redact: _Optional[bool] = ..., priority: _Optional[_Union[_types_pb2.Priority, str]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., truncation: _Optional[_Union[_types_pb2.Truncation, str]] = ..., prompt: _Optional[_Union[FreeText, _Mapping]] = ..., explain_match: _Optional[_Union[ExplainMatch, _Mapping]] = ..., summarize_resume: _Optional[_Union[SummarizeResume, _Mapping]] = ..., optimize_resume: _Optional[_Union[OptimizeResume, _Mapping]] = ..., write_job_description: _Optional[_Union[WriteJobDescription, _Mapping]] = ..., suggest_titles: _Optional[_Union[SuggestTitles, _Mapping]] = ..., extract_skills: _Optional[_Union[ExtractSkills, _Mapping]] = ..., career_advice: _Optional[_Union[CareerAdvice, _Mapping]] = ..., chat: _Optional[_Union[Chat, _Mapping]] = ...) -> None: ...

class GenerateStreamResponse(_message.Message):
    __slots__ = ("request_id", "delta", "finish_reason", "grounding", "usage", "model", "timing", "seed", "score")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    GROUNDING_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    delta: str
    finish_reason: FinishReason
    grounding: Grounding
    usage: GenerateUsage
    model: _types_pb2.ModelStamp
    timing: _types_pb2.Timing
    seed: int
    score: float
    def __init__(self, request_id: _Optional[str] = ..., delta: _Optional[str] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., grounding: _Optional[_Union[Grounding, _Mapping]] = ..., usage: _Optional[_Union[GenerateUsage, _Mapping]] = ..., model: _Optional[_Union[_types_pb2.ModelStamp, _Mapping]] = ..., timing: _Optional[_Union[_types_pb2.Timing, _Mapping]] = ..., seed: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...
