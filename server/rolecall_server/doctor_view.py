"""The doctor's report on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_GIB = 2**30


def render(report: Mapping[str, Any], console: Console) -> None:
    """Print a report (the fields of doctor.Report as a mapping)."""
    console.print(_facts("Hardware", _hardware(report["hardware"])))
    console.print(_facts("ONNX Runtime", _runtime(report["runtime"])))
    console.print(_models(report))
    for model in report["models"]:
        if model["placement"]:
            console.print(_placement(model))
        if model["node_list"]:
            console.print(_nodes(model))
    for warning in report["warnings"]:
        console.print(f"[yellow]warning[/]  {escape(warning)}")
    for problem in report["problems"]:
        console.print(f"[red]problem[/]  {escape(problem)}")
    if not report["problems"]:
        console.print("[green]ok[/]       every model can be served here")


def _facts(title: str, facts: Mapping[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, escape(value))
    return table


def _hardware(hardware: Mapping[str, Any]) -> dict[str, str]:
    memory = hardware["memory_bytes"]
    return {
        "CPU": hardware["cpu"] or "unknown",
        "cores": f"{hardware['cores']} usable of {hardware['machine_cores']}",
        "instructions": ", ".join(hardware["instruction_sets"]) or "none of those that matter here",
        "memory": f"{memory / _GIB:.1f} GiB" if memory else "unknown",
        "GPU": "; ".join(hardware["gpus"]) or "none",
    }


def _runtime(runtime: Mapping[str, Any]) -> dict[str, str]:
    return {
        "version": runtime["version"] or "missing",
        "providers": ", ".join(runtime["providers"]) or "none",
        "packages": ", ".join(f"{name} {version}" for name, version in runtime["packages"].items()) or "none",
    }


def _models(report: Mapping[str, Any]) -> Table:
    title = f"Models in {escape(report['repository'])}"
    table = Table("model", "preset", "made for", "runs on", "files", "weights", title=title, title_justify="left")
    for model in report["models"]:
        files = "[green]verified[/]" if model["verified"] else "[red]not verified[/]"
        table.add_row(
            escape(model["model"]),
            escape(model["preset"]),
            escape(model["made_for"]),
            model["provider"].removesuffix("ExecutionProvider") or "[red]not loaded[/]",
            files,
            escape(model["weights_hash"][:12]),
        )
    return table


def _placement(model: Mapping[str, Any]) -> Table:
    title = f"Nodes of {escape(model['model'])}: {model['nodes']}"
    table = Table("provider", "nodes", "op types", title=title, title_justify="left")
    for provider, ops in model["placement"].items():
        kinds = ", ".join(f"{op} {count}" for op, count in ops.items())
        table.add_row(provider.removesuffix("ExecutionProvider"), str(sum(ops.values())), escape(kinds))
    return table


def _nodes(model: Mapping[str, Any]) -> Table:
    table = Table("node", "op type", "provider", title=f"Every node of {escape(model['model'])}", title_justify="left")
    for node in model["node_list"]:
        table.add_row(escape(node["name"]), node["op_type"], node["provider"].removesuffix("ExecutionProvider"))
    return table
