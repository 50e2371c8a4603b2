"""From channels first to channels last and back, with as few transposes as possible.

No transpose is inserted to be cancelled later. Every tensor is stored in the order of axes in which
its producer writes it (:mod:`.axis_orders`): a spatial operator writes in the wanted layout, an
element-wise operator takes over the order of its inputs, an operator with axes has its attributes
permuted, and a transpose of the source model only changes what is remembered. Data is moved where
an operator needs another order than it finds, and at graph outputs, which keep their layout.

To make an operator tolerant of any order, enter its rule in the table at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.converters.axis_orders import (
    TO_FIRST,
    TO_LAST,
    AxisOrders,
    Perm,
    identity,
    moves_only_ones,
    permuted,
)
from edgekit.errors import ModelError, UsageError
from edgekit.graph import Attr, Graph, Node
from edgekit.ops.spec import OpView
from edgekit.shapes import infer_shapes

LAYOUTS = ("NHWC", "NCHW")
_SPATIAL = frozenset(
    {
        "average_pool2d",
        "conv2d",
        "depth_to_space",
        "depthwise_conv2d",
        "max_pool2d",
        "resize",
        "space_to_depth",
        "transpose_conv2d",
    }
)


def to_layout(graph: Graph, layout: str) -> Graph:
    """Return the graph with all spatial operators in one layout.

    Parameters
    ----------
    graph : Graph
    layout : str
        ``"NHWC"`` or ``"NCHW"``.

    Returns
    -------
    Graph
        Computes the same; it is the graph itself where nothing is to be turned. Inputs and outputs
        keep their names, shapes and order of axes. In NHWC a convolution with one group for each
        channel becomes ``depthwise_conv2d``; in NCHW that becomes ``conv2d``.

    Raises
    ------
    UsageError
        For another layout.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout {layout} is neither {LAYOUTS[0]} nor {LAYOUTS[1]}")
    if all(_layout_of(node) in {"", layout} for node in graph.nodes):
        return graph
    orders = AxisOrders(graph)
    for node in graph.nodes:
        if node.op in _SPATIAL:
            _spatial(orders, node, layout)
        else:
            _RULES.get(node.op, _fixed)(orders, node)
    return infer_shapes(orders.finished())


def _layout_of(node: Node) -> str:
    """Return the layout of a spatial operator, empty for others."""
    if node.op not in _SPATIAL:
        return ""
    return "NHWC" if node.op == "depthwise_conv2d" else str(node.attrs.get("layout", "NHWC"))


def _spatial(orders: AxisOrders, node: Node, layout: str) -> None:
    """Move a spatial operator to the wanted layout, its weights with it."""
    if _layout_of(node) == layout:
        _fixed(orders, node)
    elif node.op == "depthwise_conv2d":
        _from_depthwise(orders, node)
    elif node.op == "transpose_conv2d":
        _transpose_conv(orders, node, layout)
    elif node.op == "conv2d" and _is_depthwise(orders, node):
        _to_depthwise(orders, node)
    else:
        perm = TO_LAST if layout == "NHWC" else TO_FIRST
        # Weights, where there are any, have their axes in the same places as images.
        inputs = [orders.stored(name, perm) for name in node.inputs[:2]]
        rest = [orders.stored(name, identity(1)) if name else "" for name in node.inputs[2:]]
        orders.add(node, [*inputs, *rest], [perm], {**node.attrs, "layout": layout})


def _is_depthwise(orders: AxisOrders, node: Node) -> bool:
    """Whether an NCHW convolution has one group for each of several input channels."""
    return node.attrs.get("groups", 1) == orders.tensor(node.inputs[0]).shape[1] != 1


def _to_depthwise(orders: AxisOrders, node: Node) -> None:
    """Turn weights (C_out, 1, KH, KW) into (1, KH, KW, C_out)."""
    x, weights, *bias = node.inputs
    groups = OpView.of(orders.graph, node).int_attr("groups")
    attrs: dict[str, Attr] = {
        name: value for name, value in node.attrs.items() if name not in {"groups", "layout"}
    }
    attrs["depth_multiplier"] = orders.tensor(weights).static_shape[0] // groups
    inputs = [orders.stored(x, TO_LAST), orders.stored(weights, (1, 2, 3, 0)), *bias]
    orders.add(node, inputs, [TO_LAST], attrs, op="depthwise_conv2d")


def _from_depthwise(orders: AxisOrders, node: Node) -> None:
    """Turn weights (1, KH, KW, C_out) into (C_out, 1, KH, KW)."""
    x, weights, *bias = node.inputs
    channels = orders.tensor(x).shape[3]
    if isinstance(channels, str):
        raise ModelError(f"layer {node.where}: the number of channels '{channels}' varies")
    attrs = {name: value for name, value in node.attrs.items() if name != "depth_multiplier"}
    inputs = [orders.stored(x, TO_FIRST), orders.stored(weights, (3, 0, 1, 2)), *bias]
    orders.add(
        node, inputs, [TO_FIRST], {**attrs, "groups": channels, "layout": "NCHW"}, op="conv2d"
    )


def _transpose_conv(orders: AxisOrders, node: Node, layout: str) -> None:
    """Turn weights (C_in, C_out, KH, KW) into (C_out, KH, KW, C_in), or back.

    There are groups in NCHW only, so that a layer with groups stays as it is.
    """
    if node.attrs.get("groups", 1) != 1:
        _fixed(orders, node)
        return
    perm, weights_perm = (TO_LAST, (1, 2, 3, 0)) if layout == "NHWC" else (TO_FIRST, (3, 0, 1, 2))
    x, weights, *bias = node.inputs
    inputs = [orders.stored(x, perm), orders.stored(weights, weights_perm), *bias]
    orders.add(node, inputs, [perm], {**node.attrs, "layout": layout})


def _fixed(orders: AxisOrders, node: Node) -> None:
    """Rule of operators that need every tensor as the source model has it."""
    inputs = [
        orders.stored(name, identity(orders.rank(name))) if name else "" for name in node.inputs
    ]
    orders.add(node, inputs, [identity(orders.rank(name)) for name in node.outputs])


def _as_declared(orders: AxisOrders, names: Sequence[str]) -> list[str]:
    """Return tensors in the source's order of axes."""
    return [orders.stored(name, identity(orders.rank(name))) if name else "" for name in names]


def _elementwise(orders: AxisOrders, node: Node) -> None:
    """Rule of operators on corresponding elements, with broadcasting."""
    rank = orders.rank(node.outputs[0])
    perm = _preferred(orders, [name for name in node.inputs if name], rank)
    inputs = [_operand(orders, name, rank, perm) if name else "" for name in node.inputs]
    orders.add(node, inputs, [perm] * len(node.outputs))


def _operand(orders: AxisOrders, name: str, rank: int, perm: Perm) -> str:
    if orders.rank(name) == rank:
        return orders.stored(name, perm)
    return orders.lifted(name, rank, perm)


def _preferred(orders: AxisOrders, names: list[str], rank: int) -> Perm:
    """Return the order that an operator takes over: the first that differs from the source's."""
    homes = [
        orders.home(name)
        for name in names
        if orders.rank(name) == rank and not orders.tensor(name).is_constant
    ]
    return next((home for home in homes if home != identity(rank)), identity(rank))


def _same_order(orders: AxisOrders, node: Node, attrs: dict[str, Attr]) -> None:
    """Add a node whose input 0 and outputs are stored in one order; other inputs as they are."""
    perm = orders.home(node.inputs[0])
    rest = [
        orders.stored(name, identity(orders.rank(name))) if name else "" for name in node.inputs[1:]
    ]
    inputs = [orders.stored(node.inputs[0], perm), *rest]
    orders.add(node, inputs, [perm] * len(node.outputs), attrs)


def _along_axis(orders: AxisOrders, node: Node) -> None:
    """Rule of softmax, split and batch_norm: attribute ``axis`` of input 0."""
    perm = orders.home(node.inputs[0])
    _same_order(orders, node, {**node.attrs, "axis": _moved_axis(orders, node, perm)})


def _moved_axis(orders: AxisOrders, node: Node, perm: Perm) -> int:
    axis = OpView.of(orders.graph, node).int_attr("axis", -1)
    return perm.index(axis % len(perm))


def _concat(orders: AxisOrders, node: Node) -> None:
    rank = orders.rank(node.outputs[0])
    perm = _preferred(orders, list(node.inputs), rank)
    inputs = [orders.stored(name, perm) for name in node.inputs]
    orders.add(node, inputs, [perm], {**node.attrs, "axis": _moved_axis(orders, node, perm)})


def _per_axis(*names: str) -> Callable[[AxisOrders, Node], None]:
    """Rule of operators whose attributes have one entry for each axis."""

    def rule(orders: AxisOrders, node: Node) -> None:
        perm = orders.home(node.inputs[0])
        attrs = dict(node.attrs)
        for name in names:
            values = node.attrs.get(name)
            if not isinstance(values, tuple) or len(values) != len(perm):
                _fixed(orders, node)
                return
            attrs[name] = tuple(values[axis] for axis in perm)
        _same_order(orders, node, attrs)

    return rule


def _reduce(orders: AxisOrders, node: Node) -> None:
    view = OpView.of(orders.graph, node)
    perm = orders.home(node.inputs[0])
    axes = tuple(axis % len(perm) for axis in view.ints_attr("axes"))
    moved = tuple(sorted(perm.index(axis) for axis in axes))
    _reduced(orders, node, axes, {**node.attrs, "axes": moved}, keep=view.bool_attr("keep_dims"))


def _arg(orders: AxisOrders, node: Node) -> None:
    view = OpView.of(orders.graph, node)
    perm = orders.home(node.inputs[0])
    axis = view.int_attr("axis") % len(perm)
    attrs: dict[str, Attr] = {**node.attrs, "axis": perm.index(axis)}
    _reduced(orders, node, (axis,), attrs, keep=view.bool_attr("keep_dims"))


def _reduced(
    orders: AxisOrders, node: Node, axes: tuple[int, ...], attrs: dict[str, Attr], *, keep: bool
) -> None:
    """Add a reduction; without the reduced axes, the others keep their order in memory."""
    perm = orders.home(node.inputs[0])
    left = sorted(set(range(len(perm))) - set(axes))
    result = perm if keep else tuple(left.index(axis) for axis in perm if axis in left)
    orders.add(node, [orders.stored(node.inputs[0], perm)], [result], attrs)


def _transpose(orders: AxisOrders, node: Node) -> None:
    """Only what is remembered changes; constants and inputs are moved where they are read."""
    perm = OpView.of(orders.graph, node).ints_attr("perm")
    orders.rename_axes(node, perm)


def _reshape(orders: AxisOrders, node: Node) -> None:
    """Read any order in which the data lies in memory as in the source's order."""
    source = node.inputs[0]
    home = orders.home(source)
    shape = node.attrs.get("shape")
    copies = isinstance(shape, tuple) and 0 in shape
    if not copies and moves_only_ones(permuted(orders.tensor(source).shape, home), _inverse(home)):
        perm = identity(orders.rank(node.outputs[0]))
        orders.add(node, [orders.stored(source, home)], [perm])
    else:
        _fixed(orders, node)


def _inverse(perm: Perm) -> Perm:
    return tuple(perm.index(axis) for axis in range(len(perm)))


def _layer_norm(orders: AxisOrders, node: Node) -> None:
    """Any order that leaves the normalised axes last and in their order."""
    perm = orders.home(node.inputs[0])
    axis = OpView.of(orders.graph, node).int_attr("axis") % len(perm)
    if perm[axis:] == identity(len(perm))[axis:]:
        _same_order(orders, node, dict(node.attrs))
    else:
        _fixed(orders, node)


def _gather(orders: AxisOrders, node: Node) -> None:
    """Keep the order for indices of one axis, which leave the number of axes as it is."""
    if orders.rank(node.inputs[1]) == 1:
        _along_axis(orders, node)
    else:
        _fixed(orders, node)


_ELEMENTWISE: tuple[str, ...] = (
    *("abs", "cast", "clip", "dequantize", "elu", "erf", "exp", "floor", "gelu", "hard_sigmoid"),
    *("hard_swish", "identity", "leaky_relu", "log", "logical_not", "neg", "quantize", "relu"),
    *("relu6", "relu_n1_1", "rsqrt", "sigmoid", "softplus", "sqrt", "square", "tanh"),
    *("add", "div", "equal", "greater", "greater_equal", "less", "less_equal", "logical_and"),
    *("logical_or", "maximum", "minimum", "mul", "pow", "prelu", "squared_difference", "sub"),
    "where",
)
_REDUCTIONS = ("reduce_l2", "reduce_max", "reduce_mean", "reduce_min", "reduce_sum")

_RULES: dict[str, Callable[[AxisOrders, Node], None]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(("batch_norm", "softmax", "split"), _along_axis),
    **dict.fromkeys(
        ("reduce_l2", "reduce_max", "reduce_mean", "reduce_min", "reduce_sum"), _reduce
    ),
    **dict.fromkeys(("arg_max", "arg_min"), _arg),
    "concat": _concat,
    "expand": _per_axis("shape"),
    "gather": _gather,
    "layer_norm": _layer_norm,
    "pad": _per_axis("padding"),
    "reshape": _reshape,
    "slice": _per_axis("begin", "end", "strides"),
    "tile": _per_axis("repeats"),
    "transpose": _transpose,
}
