"""The demonstration: English and Chinese jobs, mixed, ranked for one resume in each language, and checked."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text
from rolecall.v1 import types_pb2

from rolecall_client.client import Client
from rolecall_client.files import read_profile, read_profiles
from rolecall_client.results import MatchResult
from rolecall_client.tables import label_of, ranking_table

RESUMES = ("resume_en.txt", "resume_zh.txt")
JOBS = {"en": "jobs_en.jsonl", "zh": "jobs_zh.jsonl"}
EXPECTED = "software"
"""A part of the ids of the jobs that suit the sample resumes, as in `en-software-backend`."""

_SHOWN = 10
_BEST = 3


@dataclass(frozen=True, slots=True)
class Examples:
    """languages: of each job, by its position."""

    resumes: tuple[types_pb2.Profile, ...]
    jobs: tuple[types_pb2.Profile, ...]
    languages: tuple[str, ...]


def read_examples(folder: Path) -> Examples:
    """The sample resumes and all sample jobs. Raises BadFileError."""
    jobs = [(item.profile, language) for language, name in JOBS.items() for item in read_profiles(folder / name)]
    return Examples(
        resumes=tuple(read_profile(folder / name) for name in RESUMES),
        jobs=tuple(job for job, _ in jobs),
        languages=tuple(language for _, language in jobs),
    )


def run_demo(client: Client, folder: Path, console: Console) -> bool:
    """Rank and print; whether every ranking is as it has to be."""
    examples = read_examples(folder)
    client.wait_until_serving()
    faults: list[str] = []
    for name, resume in zip(RESUMES, examples.resumes, strict=True):
        result = client.match(resume, examples.jobs)
        console.print(Text.assemble((f"\n{name}", "bold"), ": ", label_of(resume)))
        title = f"best {_SHOWN} of {len(examples.jobs)} jobs"
        console.print(ranking_table(title, result, examples.jobs, width=console.width, limit=_SHOWN))
        faults += [f"{name}: {fault}" for fault in find_faults(result, examples)]
    for fault in faults:
        console.print(fault, style="red", markup=False, highlight=False)
    if not faults:
        console.print("The right jobs are on top for both resumes, over all and in each language.")
    return not faults


def find_faults(result: MatchResult, examples: Examples) -> list[str]:
    """What is wrong with a ranking.

    The best three of all must be software jobs, and so must the best three of each language: that shows that a resume
    finds its jobs across languages. The languages' blocks are not compared: the encoder likes its own language better.
    """
    faults = [f"{match.document_id!r} failed: {match.error}" for match in result.matches if match.error is not None]
    ranked = [(match.document_id, examples.languages[match.index]) for match in result.matches if match.error is None]
    rankings = {"": [document_id for document_id, _ in ranked]}
    rankings |= {f" in {code}": [document_id for document_id, language in ranked if language == code] for code in JOBS}
    for where, ids in rankings.items():
        best = ids[:_BEST]
        if len(best) < _BEST or not all(EXPECTED in document_id.split("-") for document_id in best):
            faults.append(f"the best {_BEST}{where} should all be {EXPECTED} jobs, not {', '.join(best)}")
    return faults
