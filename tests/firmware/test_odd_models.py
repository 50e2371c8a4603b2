"""Odd models as C: whatever their names and shapes, it compiles without a warning and is right.

To add one, give it a function and enter it in ``MODELS``.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.emitters.c_source import c_identifier, emit_c
from edgekit.deploy.firmware import CSRC
from edgekit.deploy.host_program import build_host_program, host_compiler, run_host_program
from edgekit.dtypes import DType
from edgekit.emulators.mcu import input_bytes
from edgekit.graph import Graph, Tensor
from edgekit.planner import build_plan
from edgekit.profiles import load_profile
from edgekit.schedule import schedule
from edgekit.shapes import infer_shapes
from tests.mcu_models import expected_outputs, random_inputs
from tests.small_graphs import Builder

pytestmark = pytest.mark.toolchain

WARNINGS = (
    *("-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wdouble-promotion"),
    *("-Wpedantic", "-Wundef", "-Wstrict-prototypes", "-Werror"),
)
RUNS = 3


def hostile_names() -> Graph:
    b = Builder("int")
    x, y = b.input("static", 1, 4), b.input("a */ #error \\", 1, 4)
    named = b.add(b.node("abs", x), y)
    graph = b.graph(named, b.add(named, b.constant("通道??/\n\x00", np.ones(4, np.float32))))
    first, *others = graph.nodes
    odd = replace(first, name='double" */ while (1); /*', origin="for ??/ \\\n\r//")
    return graph.replace(nodes=(odd, *others))


def no_plain_letter() -> Graph:
    b = Builder("模型 9/9")
    return b.graph(b.node("neg", b.input("入力", 3)))


def several_types() -> Graph:
    b = Builder("several")
    x = b.input("x", 2, 3)
    b.tensors["flags"] = Tensor("flags", (2, 3), DType.BOOL, b.tensors[x].kind)
    b.inputs.append("flags")
    y = b.input("y", 3)
    chosen = b.node("where", b.node("logical_not", "flags"), x, y)
    larger = b.node("greater", x, y)
    return b.graph(chosen, larger, b.node("arg_max", x, axis=1, output_dtype="int64"))


def constant_outputs() -> Graph:
    b = Builder("constants")
    weights = np.array([np.nan, np.inf, -np.inf, 1e-45, -0.0], np.float32)
    c = b.constant("c", weights)
    return b.graph(c, b.node("abs", b.input("x", 5)), c)


def input_as_output() -> Graph:
    b = Builder("both")
    x = b.input("x", 4)
    return b.graph(x, b.node("square", x), x)


def nothing_to_compute() -> Graph:
    b = Builder("nothing")
    x = b.input("x", 4)
    b.input("unused", 7)
    return b.graph(x)


def views_of_an_input() -> Graph:
    b = Builder("views")
    x = b.input("x", 2, 6)
    rows = b.reshape(x, 3, 4)
    return b.graph(rows, b.add(x, x), b.reshape(rows, 12))


def empty_tensors() -> Graph:
    b = Builder("empty")
    x, none = b.input("x", 2, 4), b.input("none", 2, 0)
    joined = b.node("concat", x, none, b.constant("nothing", np.zeros((2, 0), np.float32)), axis=1)
    return b.graph(b.node("abs", joined), b.node("neg", none), none)


def padded() -> Graph:
    b = Builder("padded")
    x = b.input("x", 2, 3)
    padding = ((2, 1), (1, 2))
    kinds = [b.node("pad", x, padding=((1, 1), (1, 2)), mode="reflect")]
    kinds += [b.node("pad", x, padding=padding, mode=mode) for mode in ("symmetric", "edge")]
    return b.graph(*kinds, b.node("pad", x, padding=padding, mode="constant", value=-1.5))


MODELS: tuple[Callable[[], Graph], ...] = (
    *(hostile_names, no_plain_letter, several_types, constant_outputs, input_as_output),
    *(nothing_to_compute, views_of_an_input, empty_tensors, padded),
)


def generated(graph: Graph, folder: Path) -> dict[str, bytes]:
    """Return the generated files, written to a folder as well."""
    plan = build_plan(graph, load_profile("stm32h743"), executor="reference")
    files = emit_c(graph, plan, c_identifier(graph.name)).files
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return dict(files)


def check_compiles(command: tuple[str, ...], flags: tuple[str, ...], sources: list[Path]) -> None:
    includes = f"-I{CSRC / 'include'}", f"-I{sources[0].parent}"
    for source in sources:
        done = subprocess.run(
            [*command, *flags, *includes, "-c", str(source), "-o", f"{source}.o"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def ordered(make: Callable[[], Graph]) -> Graph:
    return schedule(infer_shapes(make())).graph


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_odd_models_compile_without_a_warning(make: Callable[[], Graph], tmp_path: Path) -> None:
    compiler = host_compiler()
    if compiler is None:
        pytest.skip("no C compiler for this computer")
    generated(ordered(make), tmp_path)
    check_compiles(compiler, WARNINGS, [tmp_path / "model.c", tmp_path / "weights.c"])


@pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="ziglang is not installed")
@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_hostile_model_compiles_with_clang(language: str, tmp_path: Path) -> None:
    """C++ applications include the model's header."""
    generated(ordered(hostile_names), tmp_path)
    zig = (sys.executable, "-m", "ziglang")
    if language == "c":
        check_compiles((*zig, "cc"), WARNINGS, [tmp_path / "model.c", tmp_path / "weights.c"])
        return
    (tmp_path / "app.cpp").write_text('#include "model.h"\nint main() { return int_init(); }\n')
    check_compiles((*zig, "c++"), ("-Wall", "-Wextra", "-Werror"), [tmp_path / "app.cpp"])


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_odd_models_compute_what_the_reference_does(
    make: Callable[[], Graph], tmp_path: Path
) -> None:
    if host_compiler() is None:
        pytest.skip("no C compiler for this computer")
    graph = ordered(make)
    program = build_host_program(generated(graph, tmp_path), tmp_path)
    inputs = [odd_inputs(graph, seed) for seed in range(RUNS)]
    found = run_host_program(program, [input_bytes(graph, item) for item in inputs])
    assert found == b"".join(expected_outputs(graph, inputs))


def odd_inputs(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    flags = {
        name: rng.integers(0, 2, graph.tensors[name].static_shape).astype(bool)
        for name in graph.inputs
        if graph.tensors[name].dtype is DType.BOOL
    }
    others = tuple(name for name in graph.inputs if name not in flags)
    given = random_inputs(replace(graph, inputs=others), seed) | flags
    return {name: given[name] for name in graph.inputs}
