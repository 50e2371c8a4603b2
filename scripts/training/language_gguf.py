"""The language model as GGUF, and back: weights in F32, Q8_0 or Q4_0, tokenizer, description.

Format: GGUF version 3 (ggml, docs/gguf.md), written by the ``gguf`` package. Names and
hyperparameters are those of llama.cpp's architecture ``arcee``. Matrices are quantized, scales of
the normalizations stay F32.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from training.language_corpus import BOUNDARY_ID, PRE_TOKENIZER_NAME
from training.language_network import LanguageNetwork, Shape

ARCHITECTURE = "arcee"
NAME = "edgekit tales"
DESCRIPTION = (
    "Small language model that ships with edgekit: plays of Shakespeare, Grimm's fairy tales, and "
    "addresses of presidents of the United States. Squared ReLU, no gate. An example, not a "
    "product: it knows nothing."
)
LICENCE = "apache-2.0"
FILE_TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}


def write_gguf(
    path: Path,
    network: LanguageNetwork,
    tokenizer: Tokenizer,
    *,
    quantization: str,
    training_data: list[str],
) -> None:
    """Write one file.

    Parameters
    ----------
    path : Path
    network : LanguageNetwork
    tokenizer : Tokenizer
        From `training.language_corpus.train_tokenizer`.
    quantization : str
        A key of `FILE_TYPES`.
    training_data : list of str
        What the model was trained on, for the reader of the file.
    """
    tensor_type, file_type = FILE_TYPES[quantization]
    temporary = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(temporary, ARCHITECTURE)
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_license(LICENCE)
    writer.add_languages(["en"])
    writer.add_array("edgekit.training_data", training_data)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, network.shape)
    _add_tokenizer(writer, tokenizer)
    for name, values in network.state_dict().items():
        array = values.detach().cpu().numpy().astype(np.float32)
        kind = tensor_type if array.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(path)


def read_network(path: Path) -> LanguageNetwork:
    """Read a file of `write_gguf` back, quantized weights as the floats that they stand for.

    Parameters
    ----------
    path : Path

    Returns
    -------
    LanguageNetwork
        Ready for inference on the CPU.
    """
    reader = gguf.GGUFReader(path)

    def number(key: str) -> float:
        return float(reader.fields[f"{ARCHITECTURE}.{key}"].contents())

    shape = Shape(
        vocabulary_size=len(reader.fields["tokenizer.ggml.tokens"].data),
        width=int(number("embedding_length")),
        layers=int(number("block_count")),
        ffn_width=int(number("feed_forward_length")),
        heads=int(number("attention.head_count")),
        kv_heads=int(number("attention.head_count_kv")),
        context=int(number("context_length")),
        rope_base=number("rope.freq_base"),
        norm_epsilon=number("attention.layer_norm_rms_epsilon"),
    )
    network = LanguageNetwork(shape)
    weights = {item.name: _floats(item) for item in reader.tensors}
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    network.eval()
    return network


def _floats(tensor: gguf.ReaderTensor) -> npt.NDArray[np.float32]:
    array = gguf.dequantize(tensor.data, tensor.tensor_type)
    return np.array(array, dtype=np.float32).reshape(tuple(int(n) for n in tensor.shape[::-1]))


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary_size)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    kinds[BOUNDARY_ID] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER_NAME)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(BOUNDARY_ID)
    writer.add_eos_token_id(BOUNDARY_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
