from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SalaryPeriod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SALARY_PERIOD_UNSPECIFIED: _ClassVar[SalaryPeriod]
    SALARY_PERIOD_HOUR: _ClassVar[SalaryPeriod]
    SALARY_PERIOD_DAY: _ClassVar[SalaryPeriod]
    SALARY_PERIOD_MONTH: _ClassVar[SalaryPeriod]
    SALARY_PERIOD_YEAR: _ClassVar[SalaryPeriod]

class EmploymentType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EMPLOYMENT_TYPE_UNSPECIFIED: _ClassVar[EmploymentType]
    EMPLOYMENT_TYPE_FULL_TIME: _ClassVar[EmploymentType]
    EMPLOYMENT_TYPE_PART_TIME: _ClassVar[EmploymentType]
    EMPLOYMENT_TYPE_CONTRACT: _ClassVar[EmploymentType]
    EMPLOYMENT_TYPE_TEMPORARY: _ClassVar[EmploymentType]
    EMPLOYMENT_TYPE_INTERNSHIP: _ClassVar[EmploymentType]

class Truncation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRUNCATION_UNSPECIFIED: _ClassVar[Truncation]
    TRUNCATION_CHUNK: _ClassVar[Truncation]
    TRUNCATION_TRUNCATE: _ClassVar[Truncation]
    TRUNCATION_REJECT: _ClassVar[Truncation]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_INTERACTIVE: _ClassVar[Priority]
    PRIORITY_BULK: _ClassVar[Priority]
SALARY_PERIOD_UNSPECIFIED: SalaryPeriod
SALARY_PERIOD_HOUR: SalaryPeriod
SALARY_PERIOD_DAY: SalaryPeriod
SALARY_PERIOD_MONTH: SalaryPeriod
SALARY_PERIOD_YEAR: SalaryPeriod
EMPLOYMENT_TYPE_UNSPECIFIED: EmploymentType
EMPLOYMENT_TYPE_FULL_TIME: EmploymentType
EMPLOYMENT_TYPE_PART_TIME: EmploymentType
EMPLOYMENT_TYPE_CONTRACT: EmploymentType
EMPLOYMENT_TYPE_TEMPORARY: EmploymentType
EMPLOYMENT_TYPE_INTERNSHIP: EmploymentType
TRUNCATION_UNSPECIFIED: Truncation
TRUNCATION_CHUNK: Truncation
TRUNCATION_TRUNCATE: Truncation
TRUNCATION_REJECT: Truncation
PRIORITY_UNSPECIFIED: Priority
PRIORITY_INTERACTIVE: Priority
PRIORITY_BULK: Priority

class Profile(_message.Message):
    __slots__ = ("id", "text", "resume", "job", "embedding", "language")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    resume: Resume
    job: Job
    embedding: bytes
    language: str
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., embedding: _Optional[bytes] = ..., language: _Optional[str] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("headline", "summary", "goal", "location", "skills", "languages", "experience", "education", "years_experience")
    HEADLINE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    EXPERIENCE_FIELD_NUMBER: _ClassVar[int]
    EDUCATION_FIELD_NUMBER: _ClassVar[int]
    YEARS_EXPERIENCE_FIELD_NUMBER: _ClassVar[int]
    headline: str
    summary: str
    goal: str
    location: str
    skills: _containers.RepeatedScalarFieldContainer[str]
    languages: _containers.RepeatedScalarFieldContainer[str]
    experience: _containers.RepeatedCompositeFieldContainer[Experience]
    education: _containers.RepeatedCompositeFieldContainer[Education]
    years_experience: float
    def __init__(self, headline: _Optional[str] = ..., summary: _Optional[str] = ..., goal: _Optional[str] = ..., location: _Optional[str] = ..., skills: _Optional[_Iterable[str]] = ..., languages: _Optional[_Iterable[str]] = ..., experience: _Optional[_Iterable[_Union[Experience, _Mapping]]] = ..., education: _Optional[_Iterable[_Union[Education, _Mapping]]] = ..., years_experience: _Optional[float] = ...) -> None: ...

class Experience(_message.Message):
    __slots__ = ("title", "company", "location", "start", "end", "description", "skills")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    COMPANY_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    title: str
    company: str
    location: str
    start: str
    end: str
    description: str
    skills: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, title: _Optional[str] = ..., company: _Optional[str] = ..., location: _Optional[str] = ..., start: _Optional[str] = ..., end: _Optional[str] = ..., description: _Optional[str] = ..., skills: _Optional[_Iterable[str]] = ...) -> None: ...

class Education(_message.Message):
    __slots__ = ("degree", "field", "institution", "start", "end", "description")
    DEGREE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    INSTITUTION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    degree: str
    field: str
    institution: str
    start: str
    end: str
    description: str
    def __init__(self, degree: _Optional[str] = ..., field: _Optional[str] = ..., institution: _Optional[str] = ..., start: _Optional[str] = ..., end: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("title", "description", "company", "location", "duties", "required_skills", "preferred_skills", "languages", "min_years", "education", "salary", "remote", "employment_type")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    COMPANY_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    DUTIES_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_SKILLS_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_SKILLS_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    MIN_YEARS_FIELD_NUMBER: _ClassVar[int]
    EDUCATION_FIELD_NUMBER: _ClassVar[int]
    SALARY_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    EMPLOYMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    title: str
    description: str
    company: str
    location: str
    duties: _containers.RepeatedScalarFieldContainer[str]
    required_skills: _containers.RepeatedScalarFieldContainer[str]
    preferred_skills: _containers.RepeatedScalarFieldContainer[str]
    languages: _containers.RepeatedScalarFieldContainer[str]
    min_years: float
    education: str
    salary: SalaryRange
    remote: bool
    employment_type: EmploymentType
    def __init__(self, title: _Optional[str] = ..., description: _Optional[str] = ..., company: _Optional[str] = ..., location: _Optional[str] = ..., duties: _Optional[_Iterable[str]] = ..., required_skills: _Optional[_Iterable[str]] = ..., preferred_skills: _Optional[_Iterable[str]] = ..., languages: _Optional[_Iterable[str]] = ..., min_years: _Optional[float] = ..., education: _Optional[str] = ..., salary: _Optional[_Union[SalaryRange, _Mapping]] = ..., remote: _Optional[bool] = ..., employment_type: _Optional[_Union[EmploymentType, str]] = ...) -> None: ...

class SalaryRange(_message.Message):
    __slots__ = ("min", "max", "currency", "period")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    min: float
    max: float
    currency: str
    period: SalaryPeriod
    def __init__(self, min: _Optional[float] = ..., max: _Optional[float] = ..., currency: _Optional[str] = ..., period: _Optional[_Union[SalaryPeriod, str]] = ...) -> None: ...

class ModelStamp(_message.Message):
    __slots__ = ("name", "version", "precision", "weights_hash", "tables_version", "scoring_version", "calibration_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_HASH_FIELD_NUMBER: _ClassVar[int]
    TABLES_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORING_VERSION_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    precision: str
    weights_hash: str
    tables_version: str
    scoring_version: str
    calibration_id: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., precision: _Optional[str] = ..., weights_hash: _Optional[str] = ..., tables_version: _Optional[str] = ..., scoring_version: _Optional[str] = ..., calibration_id: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("tokenize_seconds", "queue_seconds", "inference_seconds", "total_seconds", "batch_size", "padded_tokens")
    TOKENIZE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    PADDED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokenize_seconds: float
    queue_seconds: float
    inference_seconds: float
    total_seconds: float
    batch_size: int
    padded_tokens: int
    def __init__(self, tokenize_seconds: _Optional[float] = ..., queue_seconds: _Optional[float] = ..., inference_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ..., batch_size: _Optional[int] = ..., padded_tokens: _Optional[int] = ...) -> None: ...

class TokenUsage(_message.Message):
    __slots__ = ("input_tokens", "truncated_tokens", "chunks")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    truncated_tokens: int
    chunks: int
    def __init__(self, input_tokens: _Optional[int] = ..., truncated_tokens: _Optional[int] = ..., chunks: _Optional[int] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("field", "start", "end")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    field: str
    start: int
    end: int
    def __init__(self, field: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...
