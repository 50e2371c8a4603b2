"""The shape of the project: imports point one way, files stay small, light imports stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "edgekit"

LAYERS = (
    ("errors", "units", "dtypes", "native"),
    ("graph", "ops", "shapes", "profiles", "profile_schema", "profile_toml", "model_shapes"),
    ("cost",),
    (
        *("plan", "language_plan", "estimate", "schedule", "lifetimes", "memory", "verify", "fit"),
        *("planner", "selects", "verify_selects"),
    ),
    (
        *("package", "package_files", "package_manifest", "language_package", "graph_file"),
        *("blobs", "codec"),
    ),
    ("runtime",),
    ("converters", "emulators", "deploy", "zoo"),
    ("pipeline", "report", "server", "doctor"),
    ("cli",),
)
"""From the bottom up; a module imports from its own layer and from those before it."""

HEAVY = (
    *("torch", "onnx", "onnxruntime", "llama_cpp", "serial", "ai_edge_litert", "tflite", "PIL"),
    *("aiohttp", "gguf", "jinja2", "tokenizers"),
)


def python_files() -> list[Path]:
    folders = (PACKAGE, ROOT / "converters", ROOT / "emulators", ROOT / "tests", ROOT / "scripts")
    found: list[Path] = []
    for folder in folders:
        found += [path for path in folder.rglob("*.py") if "csrc" not in path.parts]
    return sorted({path.resolve() for path in found})


def package_files() -> list[Path]:
    return [path for path in python_files() if "tests" not in path.parts]


def layer_of(module: str) -> int:
    for index, names in enumerate(LAYERS):
        if module in names:
            return index
    raise AssertionError(f"edgekit.{module} belongs to no layer: add it to LAYERS")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return (parts[1] if parts[0] == "edgekit" else parts[0]).removesuffix(".py")


def imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_imports_point_one_way() -> None:
    wrong = []
    for path in package_files():
        own = module_name(path)
        if "scripts" in path.relative_to(ROOT).parts or own in {"__init__", "__main__"}:
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "edgekit" or len(parts) < 2 or not is_module(parts[1]):
                continue
            if layer_of(parts[1]) > layer_of(own):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def is_module(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


def test_files_stay_small() -> None:
    sizes = {path: path.read_text().count("\n") for path in python_files()}
    sizes |= {path: path.read_text().count("\n") for path in (PACKAGE / "csrc").rglob("*.[ch]")}
    assert [f"{path}: {lines}" for path, lines in sizes.items() if lines > 600] == []


def test_functions_stay_small() -> None:
    long = []
    for path in package_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno
                if lines > 80:
                    long.append(f"{path.name}:{node.name} has {lines} lines")
    assert not long


@pytest.mark.parametrize("command", ["import edgekit", "import edgekit.cli.main"])
def test_light_imports_load_no_heavy_library(command: str) -> None:
    code = f"{command}; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from edgekit.cli.main import run; code = run(['--help']);"
        f"print([m for m in {HEAVY!r} if m in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[] 0"
