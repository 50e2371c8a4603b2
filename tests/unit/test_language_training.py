"""How the language model that ships is trained: the split, the tokenizer, the optimizer, the files.

Everything here runs on tiny texts and networks; what ships is looked at in test_language_zoo.py.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytest.importorskip("gguf")

from training import language_corpus as corpus  # noqa: E402
from training.language_evaluation import measure_activity, measure_quality, windows  # noqa: E402
from training.language_gguf import FILE_TYPES, read_network, write_gguf  # noqa: E402
from training.language_network import LanguageNetwork, Shape, active_share, rotate  # noqa: E402
from training.language_trainer import Budget, Settings, Trainer  # noqa: E402
from training.muon import orthogonalize  # noqa: E402

from edgekit.runtime.language.tokenizer import Tokenizer, load_tokenizer  # noqa: E402

TEXT = "".join(
    f"ACT {act}\n\nFIRST LORD:\nThe moon's at {act} past noon;\nwe'll 'wait it, sir!\n\n"
    for act in range(100)
)
TINY = Shape(vocabulary_size=300, width=32, layers=2, ffn_width=64, heads=4, kv_heads=2, context=32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> corpus.Source:
    path = tmp_path_factory.mktemp("texts") / "play.txt"
    path.write_text(TEXT)
    return corpus.read_source(path)


@pytest.fixture(scope="module")
def tokenizer(source: corpus.Source) -> corpus.Tokenizer:
    return corpus.train_tokenizer([source], TINY.vocabulary_size)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Networks this small only lose by sharing the work.
    torch.set_num_threads(1)


def small_trainer(tokens: np.ndarray, *, seed: int = 1) -> Trainer:
    torch.manual_seed(seed)
    return Trainer(
        LanguageNetwork(TINY), tokens, Settings(seed=seed, batch_tokens=128), device="cpu"
    )


# --- the split ----------------------------------------------------------------------------------


@given(st.lists(st.text("ab é\n", min_size=1, max_size=60), min_size=1, max_size=8))
def test_split_loses_and_repeats_nothing(documents: list[str]) -> None:
    training, validation = corpus.split_documents(documents)
    assert "".join(training) + "".join(validation) == "".join(documents)
    assert all(training)
    assert all(validation)


@given(st.integers(50, 400), st.integers(1, 5))
def test_split_holds_back_about_a_twentieth_from_the_start_of_a_line(
    lines: int, parts: int
) -> None:
    documents = ["".join(f"{part} {line}\n" for line in range(lines)) for part in range(parts)]
    training, validation = corpus.split_documents(documents)
    assert "".join(training).endswith("\n")
    share = len("".join(validation)) / len("".join(documents))
    assert corpus.VALIDATION_SHARE - 0.02 < share <= corpus.VALIDATION_SHARE + 0.001


def test_archive_is_one_text_in_order_of_names_without_the_repeated_play(tmp_path: Path) -> None:
    speech = "<SPEECH><SPEAKER>{}</SPEAKER><LINE>A line</LINE><LINE>and more</LINE></SPEECH>"
    with zipfile.ZipFile(tmp_path / "plays.zip", "w") as archive:
        archive.writestr("plays/z_last.xml", f"<PLAY>{speech.format('ZED') * 30}</PLAY>")
        archive.writestr("plays/a_first.xml", f"<PLAY>{speech.format('ANN') * 30}</PLAY>")
        archive.writestr("plays/r_and_j.xml", f"<PLAY>{speech.format('ROMEO') * 30}</PLAY>")
    found = corpus.read_source(tmp_path / "plays.zip")
    assert found.training[0].startswith("ANN:\nA line\nand more\n\nANN:")
    assert "ZED" in found.validation[0]
    assert "ROMEO" not in "".join(found.training + found.validation)


def test_frame_of_an_ebook_and_its_pictures_are_left_out(tmp_path: Path) -> None:
    tale = "Once upon a time.\n" * 100
    (tmp_path / "tale.txt").write_text(
        f"Licence\n*** START OF THE EBOOK ***\n[Illustration: a\nhen]\n{tale}\n"
        "End of the Project Gutenberg EBook\n*** END OF THE EBOOK ***\nLicence\n"
    )
    found = corpus.read_source(tmp_path / "tale.txt")
    assert "".join(found.training + found.validation) == tale


@pytest.mark.parametrize(
    ("name", "data"),
    [("absent.txt", None), ("empty.txt", b""), ("line.txt", b"one line"), ("cut.zip", b"PK\5\6")],
)
def test_text_that_cannot_be_split_is_refused_by_name(
    tmp_path: Path, name: str, data: bytes | None
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(corpus.CorpusError, match=name):
        corpus.read_source(tmp_path / name)


# --- the tokenizer ------------------------------------------------------------------------------


@given(st.text(max_size=80))
def test_every_text_comes_back_from_its_tokens(tokenizer: corpus.Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    # U+FFFD stands for surrogates alone, which are no text.
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_tokens_of_documents_are_apart(tokenizer: corpus.Tokenizer) -> None:
    tokens = corpus.encode(tokenizer, ["The moon\n", "past noon"])
    assert tokens[0] == corpus.BOUNDARY_ID
    assert (tokens == corpus.BOUNDARY_ID).sum() == 2


# --- the network --------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_orthogonalize_brings_singular_values_to_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for rows, columns in ((16, 48), (48, 16)):
        found = orthogonalize(torch.randn(rows, columns, generator=generator))
        values = torch.linalg.svdvals(found)
        assert values.max() < 1.3
        assert values.median() > 0.6
    assert not orthogonalize(torch.zeros(4, 4)).any()


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    network = LanguageNetwork(TINY)
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, TINY.head_width, generator=generator)
    everywhere = (1, 1, TINY.context, TINY.head_width)
    queries = rotate(query.expand(everywhere), network.cosine, network.sine)
    keys = rotate(key.expand(everywhere), network.cosine, network.sine)
    torch.testing.assert_close(queries.norm(dim=-1), query.norm().expand(1, 1, TINY.context))
    scores = (queries @ keys.mT)[0, 0]
    for distance in range(TINY.context):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=1e-4)


def test_active_share_counts_what_is_not_zero() -> None:
    rectified = torch.zeros(1, 16, 64)
    rectified[..., :16] = 1e-9
    assert active_share([rectified, torch.zeros(1, 16, 64)]) == pytest.approx(0.125)


def test_pairs_score_as_the_network_whose_blocks_are_the_identity() -> None:
    network = LanguageNetwork(TINY)
    torch.nn.init.normal_(network.output.weight)
    tokens = torch.arange(20)[None]
    torch.testing.assert_close(network.score_pairs(tokens), network(tokens)[0])


# --- training -----------------------------------------------------------------------------------


def test_training_lowers_the_loss_on_text_held_back(
    source: corpus.Source, tokenizer: corpus.Tokenizer, tmp_path: Path
) -> None:
    trainer = small_trainer(corpus.encode(tokenizer, source.training))
    before = measure_quality(trainer.network, tokenizer, source.validation)
    assert before.nats_per_token == pytest.approx(math.log(TINY.vocabulary_size), abs=0.2)
    trainer.run(Budget(steps=20), tmp_path / "state.pt")
    after = measure_quality(trainer.network, tokenizer, source.validation)
    assert after.nats_per_token < before.nats_per_token - 0.5
    activity = measure_activity(trainer.network, tokenizer, source.validation)
    assert len(activity) == TINY.layers
    assert all(0.0 < layer.zero_share < 1.0 for layer in activity)


def test_training_goes_on_from_a_checkpoint_as_if_never_stopped(
    source: corpus.Source, tokenizer: corpus.Tokenizer, tmp_path: Path
) -> None:
    tokens = corpus.encode(tokenizer, source.training)
    whole = small_trainer(tokens)
    for step in range(4):
        whole.train_step(step / 4)
    first = small_trainer(tokens)
    for step in range(2):
        first.train_step(step / 4)
    first.save(tmp_path / "state.pt")
    second = small_trainer(tokens)
    second.restore(tmp_path / "state.pt")
    for step in range(2, 4):
        second.train_step(step / 4)
    assert second.step == whole.step
    for name, values in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], values, rtol=0, atol=0)


def test_budget_is_steps_or_minutes() -> None:
    assert Budget(steps=10).progress(5, 1e9) == 0.5
    assert Budget(minutes=1).progress(5, 30.0) == 0.5
    assert Budget(steps=0).progress(0, 0.0) >= 1.0
    with pytest.raises(ValueError, match="either"):
        Budget()


@given(st.integers(0, 200), st.integers(2, 40))
def test_windows_predict_each_token_once(count: int, context: int) -> None:
    tokens = np.arange(1, count + 1, dtype=np.uint16)
    seen = []
    for inputs, targets in windows(tokens, context):
        assert (inputs[:, 0] == corpus.BOUNDARY_ID).all()
        torch.testing.assert_close(inputs[:, 1:], targets[:, :-1])
        seen += targets.flatten().tolist()
    assert seen == tokens.tolist()


# --- the files ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer_of_file(
    tokenizer: corpus.Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Tokenizer:
    path = tmp_path_factory.mktemp("untrained") / "model.gguf"
    write_gguf(path, LanguageNetwork(TINY), tokenizer, quantization="q8_0", training_data=["play"])
    return load_tokenizer(path)


@given(text=st.text(max_size=80))
def test_tokens_are_the_same_by_the_file(
    tokenizer: corpus.Tokenizer, tokenizer_of_file: Tokenizer, text: str
) -> None:
    found = tokenizer_of_file.encode(text)
    assert found == [corpus.BOUNDARY_ID, *tokenizer.encode(text, add_special_tokens=False).ids]


@pytest.mark.parametrize("quantization", FILE_TYPES)
def test_file_holds_the_network(
    tokenizer: corpus.Tokenizer, tmp_path: Path, quantization: str
) -> None:
    torch.manual_seed(0)
    network = LanguageNetwork(TINY)
    path = tmp_path / "model.gguf"
    write_gguf(path, network, tokenizer, quantization=quantization, training_data=["play"])
    found = read_network(path)
    assert found.shape.as_dict() == pytest.approx(TINY.as_dict(), rel=1e-6)
    tolerance = {"f32": 0.0, "q8_0": 1 / 120, "q4_0": 1 / 7}[quantization]
    for name, values in network.state_dict().items():
        scale = float(values.abs().max())
        torch.testing.assert_close(found.state_dict()[name], values, rtol=0, atol=tolerance * scale)


@pytest.mark.full
def test_llama_cpp_computes_the_same_logits(
    source: corpus.Source, tokenizer: corpus.Tokenizer, tmp_path: Path
) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    torch.manual_seed(3)
    network = LanguageNetwork(TINY)
    for values in network.parameters():
        # As large as trained ones, scales of normalizations included, so that a wrong term shows.
        torch.nn.init.normal_(values, std=0.2 if values.ndim == 2 else 1.0)
    path = tmp_path / "model.gguf"
    write_gguf(path, network, tokenizer, quantization="f32", training_data=["play"])
    text = source.validation[0][:60]
    tokens = load_tokenizer(path).encode(text)
    # The type of the cache is F32 (0), so that nothing is rounded.
    model = llama_cpp.Llama(
        str(path), n_ctx=TINY.context, logits_all=True, type_k=0, type_v=0, verbose=False
    )
    assert model.tokenize(text.encode()) == tokens
    model.eval(tokens)
    with torch.no_grad():
        expected, _ = network(torch.tensor([tokens]))
    found = model.scores[: len(tokens)]
    np.testing.assert_allclose(found, expected[0].numpy(), rtol=1e-4, atol=1e-4)
