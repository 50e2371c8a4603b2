"""The options of TensorFlow Lite operators that the mapping looks at.

Source: TensorFlow Lite schema, tables ``*Options`` in ``tensorflow/lite/schema/schema.fbs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

OptionValue = int | float | bool | tuple[int, ...]
Options = Mapping[str, OptionValue]


@dataclass(frozen=True, slots=True)
class OptionReader:
    """How to read the options of one operator.

    Parameters
    ----------
    record : callable
        Returns an empty record of the schema library.
    read : callable
        Returns the values of a record that points to its table.
    """

    record: Callable[[], Any]
    read: Callable[[Any], Options]


def option_readers(schema: Any) -> dict[str, OptionReader]:
    """Return the readers by operator name.

    Parameters
    ----------
    schema : module
        The schema library ``tflite``.
    """
    return {
        "CONV_2D": OptionReader(schema.Conv2DOptions, _conv),
        "DEPTHWISE_CONV_2D": OptionReader(schema.DepthwiseConv2DOptions, _depthwise),
        "TRANSPOSE_CONV": OptionReader(schema.TransposeConvOptions, _transpose_conv),
        "MAX_POOL_2D": OptionReader(schema.Pool2DOptions, _pool),
        "AVERAGE_POOL_2D": OptionReader(schema.Pool2DOptions, _pool),
        "FULLY_CONNECTED": OptionReader(schema.FullyConnectedOptions, _fully_connected),
        "ADD": OptionReader(schema.AddOptions, _activation),
        "SUB": OptionReader(schema.SubOptions, _activation),
        "MUL": OptionReader(schema.MulOptions, _activation),
        "DIV": OptionReader(schema.DivOptions, _activation),
        "SOFTMAX": OptionReader(schema.SoftmaxOptions, lambda o: {"beta": float(o.Beta())}),
        "LEAKY_RELU": OptionReader(schema.LeakyReluOptions, lambda o: {"alpha": float(o.Alpha())}),
        "RESHAPE": OptionReader(schema.ReshapeOptions, _reshape),
        "MEAN": OptionReader(schema.ReducerOptions, _reducer),
        "SUM": OptionReader(schema.ReducerOptions, _reducer),
        "REDUCE_MAX": OptionReader(schema.ReducerOptions, _reducer),
        "REDUCE_MIN": OptionReader(schema.ReducerOptions, _reducer),
        "CONCATENATION": OptionReader(schema.ConcatenationOptions, _concatenation),
        "PACK": OptionReader(schema.PackOptions, lambda o: {"axis": int(o.Axis())}),
        "UNPACK": OptionReader(schema.UnpackOptions, lambda o: {"axis": int(o.Axis())}),
        "GATHER": OptionReader(schema.GatherOptions, _gather),
        "STRIDED_SLICE": OptionReader(schema.StridedSliceOptions, _strided_slice),
        "MIRROR_PAD": OptionReader(schema.MirrorPadOptions, lambda o: {"mode": int(o.Mode())}),
        "RESIZE_BILINEAR": OptionReader(schema.ResizeBilinearOptions, _resize),
        "RESIZE_NEAREST_NEIGHBOR": OptionReader(schema.ResizeNearestNeighborOptions, _resize),
        "GELU": OptionReader(schema.GeluOptions, lambda o: {"tanh": bool(o.Approximate())}),
        "SPACE_TO_DEPTH": OptionReader(schema.SpaceToDepthOptions, _block),
        "DEPTH_TO_SPACE": OptionReader(schema.DepthToSpaceOptions, _block),
        "BATCH_MATMUL": OptionReader(schema.BatchMatMulOptions, _batch_matmul),
        "SVDF": OptionReader(schema.SVDFOptions, _svdf),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": OptionReader(
            schema.UnidirectionalSequenceLSTMOptions, _lstm
        ),
    }


def _activation(options: Any) -> Options:
    return {"activation": int(options.FusedActivationFunction())}


def _conv(options: Any) -> Options:
    return {
        **_activation(options),
        "padding": int(options.Padding()),
        "stride_h": int(options.StrideH()),
        "stride_w": int(options.StrideW()),
        "dilation_h": int(options.DilationHFactor()),
        "dilation_w": int(options.DilationWFactor()),
    }


def _depthwise(options: Any) -> Options:
    return {**_conv(options), "depth_multiplier": int(options.DepthMultiplier())}


def _transpose_conv(options: Any) -> Options:
    return {
        **_activation(options),
        "padding": int(options.Padding()),
        "stride_h": int(options.StrideH()),
        "stride_w": int(options.StrideW()),
    }


def _pool(options: Any) -> Options:
    return {
        **_transpose_conv(options),
        "filter_h": int(options.FilterHeight()),
        "filter_w": int(options.FilterWidth()),
    }


def _fully_connected(options: Any) -> Options:
    return {
        **_activation(options),
        "weights_format": int(options.WeightsFormat()),
        "keep_num_dims": bool(options.KeepNumDims()),
    }


def _reshape(options: Any) -> Options:
    shape = options.NewShapeAsNumpy()
    if not isinstance(shape, np.ndarray):
        return {}
    return {"new_shape": tuple(int(dim) for dim in shape[:16])}


def _reducer(options: Any) -> Options:
    return {"keep_dims": bool(options.KeepDims())}


def _concatenation(options: Any) -> Options:
    return {**_activation(options), "axis": int(options.Axis())}


def _gather(options: Any) -> Options:
    return {"axis": int(options.Axis()), "batch_dims": int(options.BatchDims())}


def _strided_slice(options: Any) -> Options:
    return {
        "begin_mask": int(options.BeginMask()),
        "end_mask": int(options.EndMask()),
        "ellipsis_mask": int(options.EllipsisMask()),
        "new_axis_mask": int(options.NewAxisMask()),
        "shrink_axis_mask": int(options.ShrinkAxisMask()),
        "offset": bool(options.Offset()),
    }


def _resize(options: Any) -> Options:
    return {
        "align_corners": bool(options.AlignCorners()),
        "half_pixel_centers": bool(options.HalfPixelCenters()),
    }


def _block(options: Any) -> Options:
    return {"block": int(options.BlockSize())}


def _batch_matmul(options: Any) -> Options:
    return {"adj_x": bool(options.AdjX()), "adj_y": bool(options.AdjY())}


def _svdf(options: Any) -> Options:
    return {**_activation(options), "rank": int(options.Rank())}


def _lstm(options: Any) -> Options:
    return {
        **_activation(options),
        "cell_clip": float(options.CellClip()),
        "projection_clip": float(options.ProjClip()),
        "time_major": bool(options.TimeMajor()),
    }
