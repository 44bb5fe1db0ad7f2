"""What `grpcurl` does: find services and messages through reflection, call with JSON, read JSON."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.servers import Served

CLIENT = Path(__file__).with_name("stubless_client.py")
MATCH = {
    "query": {"resume": {"summary": "5 years of Python", "skills": ["Python"]}},
    "documents": [
        {"id": "a", "job": {"title": "Nurse"}},
        {"id": "b", "text": "5 years of Python Python"},
        {"id": "空", "text": ""},
    ],
    "metric": "METRIC_DOT",
}


def test_a_client_without_our_stubs_gets_a_ranking(tiny_server: Served) -> None:
    site_packages = sysconfig.get_paths()["purelib"]
    # -S keeps the .pth file away with which an editable install makes the stubs importable.
    ran = subprocess.run(
        [sys.executable, "-I", "-S", str(CLIENT), site_packages, tiny_server.address],
        input=json.dumps(MATCH),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    assert {"rolecall.v1.MatchingService", "rolecall.v1.ModelService", "grpc.health.v1.Health"} <= set(
        found["services"]
    )
    assert found["methods"] == ["Match", "MatchStream", "Embed", "AnalyzeProfile"]
    assert {"query", "documents", "top_k", "min_score"} <= set(found["fields"])
    first, second, failed = found["response"]["results"]
    assert first["document_id"] == "b"
    assert first["score"] > second["score"]
    assert (failed["document_id"], failed["status"]["code"]) == ("空", 3)
    # google.rpc details are described, too: JSON could not have been made of them otherwise.
    assert failed["status"]["details"][0]["field_violations"][0]["field"] == "documents[2].text"
    assert found["response"]["model"]["name"] == "encoder"
