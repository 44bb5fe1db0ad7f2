"""Versions that name an export: those installed, and the exporter's own code."""

from importlib import metadata, resources

from rolecall_export import tools


def test_installed_tools_are_listed_with_their_versions():
    found = tools.versions(("rich", "no-such-distribution"))
    assert found["onnx"] == metadata.version("onnx")
    assert found["rich"] == metadata.version("rich")
    assert "no-such-distribution" not in found


def test_the_exporters_own_code_is_part_of_it(tmp_path, monkeypatch):
    (tmp_path / "commands").mkdir()
    (tmp_path / "presets.py").write_text("a")
    (tmp_path / "commands" / "encoder.py").write_text("a")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    first = tools.versions()["rolecall-export"]
    (tmp_path / "commands" / "encoder.py").write_text("b")
    assert tools.versions()["rolecall-export"] == first
    (tmp_path / "presets.py").write_text("b")
    assert tools.versions()["rolecall-export"] != first
