"""A command whose extra is not installed says so in one line, whatever it is asked."""

import subprocess
import sys

import pytest
import rolecall_load.bench.cli
import rolecall_load.cli

# As if the modules were not installed: neither found nor imported.
WITHOUT = """
import importlib.util, sys
absent = sys.argv[1].split(",")
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in absent else found(name, *rest)
for name in absent:
    sys.modules[name] = None
from {module} import main
sys.exit(main(["--help"]))
"""


@pytest.mark.parametrize(
    ("module", "absent", "extras"),
    [
        ("rolecall_load.cli", "hdrh,psutil", "load"),
        ("rolecall_load.cli", "prometheus_client", "load"),
        ("rolecall_load.bench.cli", "hdrh", "load"),
        ("rolecall_load.bench.cli", "onnxruntime", "server"),
        ("rolecall_load.bench.cli", "psutil,tokenizers", "load,server"),
    ],
)
def test_a_missing_extra_is_one_line(module, absent, extras):
    command = [sys.executable, "-c", WITHOUT.format(module=module), absent]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(f" not everything it needs is installed: pip install 'rolecall[{extras}]'\n")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("main", [rolecall_load.cli.main, rolecall_load.bench.cli.main])
def test_the_version_is_told(capsys, main):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("rolecall-")
