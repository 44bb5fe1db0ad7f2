"""The examples: well formed, as their README says, and ranked as anyone would rank them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from numpy.typing import NDArray
from rolecall.v1 import types_pb2
from rolecall_server.profiles import Job
from rolecall_server.text.rendering import render
from rolecall_server.text.tokenizer import Tokenizer, Windows
from rolecall_server.types import TextKind, Truncation

from tests.requirements import require_model, require_module

EXAMPLES = Path(__file__).parents[2] / "examples"
LANGUAGES = ("en", "zh")


def profiles(language: str) -> list[types_pb2.Profile]:
    lines = (EXAMPLES / f"jobs_{language}.jsonl").read_text(encoding="utf8").splitlines()
    return [json_format.ParseDict(json.loads(line), types_pb2.Profile()) for line in lines]


def rendered(profile: types_pb2.Profile) -> str:
    job = profile.job
    return render(
        Job(
            title=job.title,
            description=job.description,
            company=job.company,
            location=job.location,
            duties=tuple(job.duties),
            required_skills=tuple(job.required_skills),
            preferred_skills=tuple(job.preferred_skills),
            languages=tuple(job.languages),
            education=job.education,
        )
    )


@cache
def embed(text: str, kind: TextKind) -> NDArray[np.float32]:
    session, tokenizer = model()
    (result,) = tokenizer.encode([text], kind=kind, truncation=Truncation.REJECT)
    assert isinstance(result, Windows)
    ids = result.windows[0][None]
    embedding: NDArray[np.float32] = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
    return embedding


@cache
def model() -> tuple[Any, Tokenizer]:
    artifact = require_model("encoder")
    runtime = require_module("onnxruntime")
    session = runtime.InferenceSession(str(artifact.graph), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.load(artifact.tokenizer, max_tokens=artifact.info.max_tokens, prefixes=artifact.prefixes)
    return session, tokenizer


def test_the_resumes_of_the_list_are_those_of_the_files() -> None:
    listed = [json.loads(line) for line in (EXAMPLES / "resumes.jsonl").read_text(encoding="utf8").splitlines()]
    texts = [(EXAMPLES / f"resume_{language}.txt").read_text(encoding="utf8").strip() for language in LANGUAGES]
    whole = [json.loads((EXAMPLES / f"resume_structured_{language}.json").read_text()) for language in LANGUAGES]
    assert [resume["text"] for resume in listed[:2]] == texts
    assert listed[2:] == whole
    assert len({resume["id"] for resume in listed}) == len(listed)


@pytest.mark.parametrize("language", LANGUAGES)
def test_jobs_are_profiles_in_their_language(language: str) -> None:
    jobs = profiles(language)
    assert len(jobs) >= 20
    assert len({job.id for job in jobs}) == len(jobs)
    assert all(job.id.startswith(f"{language}-") and job.WhichOneof("content") == "job" for job in jobs)
    assert all(job.job.title and job.job.description and job.job.required_skills for job in jobs)
    chinese = [sum("\u4e00" <= character <= "\u9fff" for character in rendered(job)) for job in jobs]
    assert all(count > 20 if language == "zh" else count == 0 for count in chinese)


@pytest.mark.parametrize("language", LANGUAGES)
def test_structured_resumes_are_profiles(language: str) -> None:
    text = (EXAMPLES / f"resume_structured_{language}.json").read_text(encoding="utf8")
    profile = json_format.Parse(text, types_pb2.Profile())
    assert profile.resume.headline
    assert profile.resume.experience


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sample_resumes_bring_up_the_software_jobs(language: str) -> None:
    jobs = [job for listed in LANGUAGES for job in profiles(listed)]
    scores = np.stack([embed(rendered(job), TextKind.DOCUMENT) for job in jobs]) @ embed(
        (EXAMPLES / f"resume_{language}.txt").read_text(encoding="utf8").strip(), TextKind.QUERY
    )
    ranking = [jobs[place].id for place in np.argsort(-scores, kind="stable")]
    assert ranking[0].startswith(f"{language}-software")
    assert all("-software-" in job for job in ranking[:3])
