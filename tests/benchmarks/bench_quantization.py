"""Accuracy of static int8: ``python -m tests.benchmarks.bench_quantization [MODEL ...]``.

Prints the tables of docs/quantization.md for the models named (``kws ad resnet8 vww face
landmarks``; all by default): ours with each observer, with and without equalization and bias
correction, beside the publisher's own int8 file. Needs ``EDGEKIT_ASSETS``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from edgekit.converters.calibration.observers import OBSERVERS
from edgekit.converters.calibration.ranges import calibrate
from edgekit.converters.importers.onnx import load
from edgekit.converters.passes import simplify
from edgekit.converters.quantization.equalization import equalize
from edgekit.converters.quantization.fallback import Gate
from edgekit.converters.quantization.onnx_runs import OnnxTracer, session_runner
from edgekit.converters.quantization.onnx_static import OnnxQuantizer, quantize_onnx_with_gate
from edgekit.converters.quantization.report import Runner, sqnr_db
from edgekit.converters.quantization.static import quantize_static
from edgekit.dtypes import Array
from edgekit.graph import Graph
from tests.public_data import (
    Faces,
    Floats,
    PublishedPair,
    keyword_samples,
    output,
    photograph_crops,
    spectrogram_rows,
)

ASSETS = Path(os.environ.get("EDGEKIT_ASSETS", ""))
TINY = ASSETS / "mcu" / "mlperf_tiny"


def compare(
    title: str,
    pair: PublishedPair,
    used: list[Floats],
    fresh: list[Floats],
    labels: list[int] | None = None,
) -> None:
    """Print one line for the publisher's file, and one for each way of quantizing."""
    exact = np.stack([pair.float_output(x) for x in fresh])

    def line(name: str, rows: Iterable[Floats], seconds: float = 0.0) -> None:
        found = np.stack(list(rows))
        wanted = exact.reshape(len(fresh), -1).argmax(axis=1) if labels is None else labels
        right = np.mean(found.reshape(len(fresh), -1).argmax(axis=1) == wanted)
        kind = "as float" if labels is None else "right"
        ratio = f"{sqnr_db(exact, found):6.1f} dB"
        print(
            f"{title:8} {name:34} {ratio} {100 * right:6.2f} % {kind} {seconds:6.1f} s", flush=True
        )

    line("float", exact)
    line("publisher's int8", (pair.published_output(x) for x in fresh))
    batches: list[Mapping[str, Array]] = [{pair.float_graph.inputs[0]: x} for x in used]
    graphs = {"": pair.float_graph, " equalized": equalize(pair.float_graph, batches)}
    for observer in OBSERVERS:
        for suffix, graph in graphs.items():
            ranges = calibrate(graph, batches, observer=observer)
            for corrected in (False, True):
                started = time.perf_counter()
                made = quantize_static(graph, ranges, batches=batches[:32] if corrected else None)
                name = f"{observer}{suffix}{' corrected' if corrected else ''}"
                rows = [output(made, x) for x in fresh]
                line(name, rows, time.perf_counter() - started)


def kws() -> None:
    pair = PublishedPair.load(TINY / "kws", "kws_ref_model_float32.tflite", "kws_ref_model.tflite")
    samples = keyword_samples(TINY / "kws" / "samples", pair.int8_graph)
    order = np.random.default_rng(0).permutation(len(samples))
    fresh = [samples[i] for i in order[100:]]
    used = [samples[i][0] for i in order[:100]]
    compare("kws", pair, used, [x for x, _ in fresh], [label for _, label in fresh])


def ad() -> None:
    pair = PublishedPair.load(TINY / "ad", "ad01_fp32.tflite", "ad01_int8.tflite")
    wav = ASSETS / "mcu" / "tflm" / "micro_speech" / "noise_1000ms.wav"
    compare("ad", pair, spectrogram_rows(wav, 100, 0), spectrogram_rows(wav, 200, 1))


def resnet8() -> None:
    pair = PublishedPair.load(
        TINY / "ic", "pretrainedResnet.tflite", "pretrainedResnet_quant.tflite"
    )
    compare("resnet8", pair, photograph_crops(32, 60, 0), photograph_crops(32, 100, 1))


def vww() -> None:
    pair = PublishedPair.load(TINY / "vww", "vww_96_float.tflite", "vww_96_int8.tflite")
    used, fresh = ([x / np.float32(255) for x in photograph_crops(96, 30, seed)] for seed in (0, 1))
    compare("vww", pair, used, fresh)


def face() -> None:
    def line(name: str, exact: Array, found: Array, seconds: float) -> None:
        lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
        cosine = (exact * found).sum(axis=1) / lengths
        print(
            f"face     {name:34} {sqnr_db(exact, found):6.1f} dB, cosine mean {cosine.mean():.4f} "
            f"least {cosine.min():.4f} {seconds:6.1f} s",
            flush=True,
        )

    vision("face-reidentification-retail-0095.onnx", Faces.aligned, line)


def landmarks() -> None:
    def line(name: str, exact: Array, found: Array, seconds: float) -> None:
        distance = np.linalg.norm((found - exact).reshape(-1, 5, 2), axis=2)
        print(
            f"landmark {name:34} {sqnr_db(exact, found):6.1f} dB, off by mean "
            f"{100 * distance.mean():.2f} % most {100 * distance.max():.2f} % of the box "
            f"{seconds:6.1f} s",
            flush=True,
        )

    vision("landmarks-regression-retail-0009.onnx", Faces.box, line)


def vision(
    file: str,
    image_of: Callable[[Faces, str], Floats],
    line: Callable[[str, Array, Array, float], None],
) -> None:
    path = ASSETS / "vision" / file
    graph = simplify(load(path, {"n": 1}))
    faces = Faces.load(ASSETS / "faces")
    names = sorted(faces.points)
    order = np.random.default_rng(0).permutation(len(names))
    batches: list[Mapping[str, Array]] = [{"image": image_of(faces, names[i])} for i in order[:32]]
    fresh = [image_of(faces, names[i]) for i in order[32:]]

    def rows(run: Runner) -> Array:
        return np.stack([np.asarray(run({"image": image})["out"]).ravel() for image in fresh])

    def timed(name: str, run: Runner) -> Array:
        started = time.perf_counter()
        found = rows(run)
        line(name, exact if name != "float" else found, found, time.perf_counter() - started)
        return found

    exact: Array = np.zeros(0)
    exact = timed("float", session_runner(path.read_bytes()))
    for suffix, made in one_and_other(graph, batches):
        for observer in OBSERVERS:
            ranges = calibrate(made, batches, observer=observer, trace=OnnxTracer())
            quantizer = OnnxQuantizer(made, ranges)
            timed(f"{observer}{suffix}", session_runner(quantizer.quantized(quantizer.layers())))
    started = time.perf_counter()
    result = quantize_onnx_with_gate(graph, batches, gate=Gate(min_sqnr_db=25.0))
    print(*result.reasons, f"{time.perf_counter() - started:.1f} s", sep="\n  ")
    timed("gate at 25 dB", session_runner(result.graph.model))
    print(f"  {path.stat().st_size:,} -> {len(result.graph.model):,} bytes")


def one_and_other(graph: Graph, batches: list[Mapping[str, Array]]) -> Iterable[tuple[str, Graph]]:
    yield "", graph
    yield " equalized", equalize(graph, batches, trace=OnnxTracer())


def main() -> None:
    if not ASSETS.parts:
        sys.exit("set EDGEKIT_ASSETS")
    benches = {bench.__name__: bench for bench in (kws, ad, resnet8, vww, face, landmarks)}
    for name in sys.argv[1:] or benches:
        benches[name]()


if __name__ == "__main__":
    main()
