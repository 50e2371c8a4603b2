"""How the image classifiers that ship are trained: what is held back, images, networks, files.

Everything here runs on made-up photographs, letters and tiny networks.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
image_module = pytest.importorskip("PIL.Image")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from training import scenes  # noqa: E402
from training.ds_cnn import DsCnn  # noqa: E402
from training.mobile_net import (  # noqa: E402
    LETTERS,
    SURFACES,
    Architecture,
    Bottleneck,
    MobileNet,
    accuracy,
    normalized,
    train,
)
from training.mobile_net_onnx import write_mobile_net  # noqa: E402
from training.onnx_export import write_onnx  # noqa: E402
from training.photographs import (  # noqa: E402
    Photograph,
    crop,
    cut_in_blocks,
    cut_in_two,
    photograph_again,
)
from training.scenes import SIZE, Images, letter_scenes, read_letters, surface_scenes  # noqa: E402

SIDE = 32
TINY = Architecture(4, (Bottleneck(1, 4), Bottleneck(2, 4), Bottleneck(2, 6, 5, 2)), 8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """More would wait for each other: the networks are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def numbered(height: int, width: int) -> Photograph:
    """Return a photograph each of whose pixels has another value."""
    values = torch.arange(float(height * width)).reshape(1, height, width)
    return Photograph("numbered", values.expand(3, -1, -1))


def located(height: int, width: int) -> Photograph:
    """Return a photograph that holds x and y of each pixel's middle."""
    x = (torch.arange(width) + 0.5).expand(height, width)
    y = (torch.arange(height) + 0.5)[:, None].expand(height, width)
    return Photograph("located", torch.stack((x, y, torch.zeros(height, width))))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels_of(parts: list[Photograph]) -> list[float]:
    return [value for part in parts for value in part.pixels[0].flatten().tolist()]


# --- photographs --------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(height=st.integers(20, 90), width=st.integers(20, 90))
def test_every_pixel_is_on_one_side(height: int, width: int) -> None:
    photograph = numbered(height, width)
    every = sorted(pixels_of([photograph]))
    halves = [cut_in_two(photograph, training=side) for side in (True, False)]
    assert sorted(pixels_of(halves)) == every
    blocks = [cut_in_blocks(photograph, training=side) for side in (True, False)]
    assert sorted(pixels_of(blocks[0] + blocks[1])) == every
    assert len(blocks[0]) > 2 * len(blocks[1]) > 0


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(24, 80),
    width=st.integers(24, 80),
    low=st.floats(0.2, 1.0),
    seed=st.integers(0, 10_000),
)
def test_crops_are_squares_inside_their_part(
    height: int, width: int, low: float, seed: int
) -> None:
    squares = crop(located(height, width), 4, 16, (low, 1.0), seeded(seed))
    corners = squares[:, :2, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert squares[:, 0].max() <= width
    assert squares[:, 1].max() <= height
    assert squares[:, :2].min() >= 0
    # Pixels' middles: 15 of 16 steps of a side. A part's edge has half a pixel without neighbour.
    across = (corners[:, :, 1] - corners[:, :, 0]).norm(dim=1) * 16 / 15
    down = (corners[:, :, 2] - corners[:, :, 0]).norm(dim=1) * 16 / 15
    assert (across - down).abs().max() <= 1.5
    # Turned by half a radian, a square that fills the part must shrink to 1 / 1.357 of it.
    shorter = min(height, width)
    assert across.min() >= min(low, 1 / 1.357) * shorter - 1.5
    assert across.max() <= shorter + 1e-3


def test_photographing_again_keeps_order_of_brightness_and_depends_on_the_seed_alone() -> None:
    levels = torch.linspace(0.1, 0.7, 7)[:, None, None, None].expand(7, 3, 24, 24)
    seen = [photograph_again(levels[[index]], seeded(5)) for index in range(7)]
    means = [float(image.float().mean()) for image in seen]
    assert means == sorted(means)
    assert seen[0].dtype == torch.uint8
    assert torch.equal(seen[3], photograph_again(levels[[3]], seeded(5)))
    assert not torch.equal(seen[3], photograph_again(levels[[3]], seeded(6)))


# --- scenes -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 letters by 20 drawers; the row of the bar tells the letter, its column the drawer."""
    path = tmp_path_factory.mktemp("omniglot") / "small.zip"
    with zipfile.ZipFile(path, "w") as members:
        for letter in range(1, 27):
            for drawer in range(1, 21):
                values = np.full((105, 105), 255, np.uint8)
                values[3 * letter : 3 * letter + 6, 3 * drawer : 3 * drawer + 30] = 0
                file = io.BytesIO()
                image_module.fromarray(values).convert("1").save(file, "png")
                name = f"images/Latin/character{letter:02d}/0001_{drawer:02d}.png"
                members.writestr(name, file.getvalue())
        members.writestr("images/Greek/character01/0001_01.png", b"")
    return path


def test_nobody_drew_letters_of_both_sides(archive: Path) -> None:
    sides = [read_letters(archive, training=side) for side in (True, False)]
    drawers = []
    for strokes, labels in sides:
        columns = strokes[:, 0].amax(dim=1).argmax(dim=1)
        rows = strokes[:, 0].amax(dim=2).argmax(dim=1)
        assert torch.equal(rows, 3 * (labels + 1))
        assert set(labels.tolist()) == set(range(scenes.LETTERS))
        drawers.append(set((columns // 3).tolist()))
    assert drawers[0] | drawers[1] == set(range(1, 21))
    assert not drawers[0] & drawers[1]


def test_archive_without_letters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.zip"
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("images/Greek/character01/0001_01.png", b"")
    with pytest.raises(ValueError, match=r"empty\.zip: no letters of Latin"):
        read_letters(path, training=True)


@pytest.fixture
def few_photographs(monkeypatch: pytest.MonkeyPatch) -> list[Photograph]:
    """Three photographs, each of one colour, in place of the packages'."""
    colours = torch.eye(3)[:, :, None, None].expand(3, 3, 60, 90)
    photographs = [Photograph(str(index), colour) for index, colour in enumerate(colours)]
    monkeypatch.setattr(scenes, "read_photographs", lambda: photographs)
    return photographs


def test_surfaces_are_labelled_with_the_photograph(few_photographs: list[Photograph]) -> None:
    for training in (True, False):
        images = surface_scenes(training=training)(24, 7)
        assert images.pixels.shape == (24, 3, SIZE, SIZE)
        brightest = images.pixels.float().mean(dim=(2, 3)).argmax(dim=1)
        assert torch.equal(brightest, images.labels)
        assert set(images.labels.tolist()) == set(range(len(few_photographs)))


@pytest.mark.usefixtures("few_photographs")
def test_the_same_seed_makes_the_same_scenes(archive: Path) -> None:
    for make in (letter_scenes(archive, training=True), surface_scenes(training=True)):
        first, again, other = make(5, 1), make(5, 1), make(5, 2)
        assert torch.equal(first.pixels, again.pixels)
        assert torch.equal(first.labels, again.labels)
        assert not torch.equal(first.pixels, other.pixels)


@pytest.mark.usefixtures("few_photographs")
def test_letters_stand_out_from_what_is_behind_them(archive: Path) -> None:
    """Grounds here have one colour: with a letter there is contrast, and light alone has less."""
    images = letter_scenes(archive, training=False)(20, 3)
    assert images.pixels.shape == (20, 3, SIZE, SIZE)
    smooth = torch.nn.functional.avg_pool2d(images.pixels.float().mean(dim=1, keepdim=True), 5)
    steps = (smooth[..., 5:] - smooth[..., :-5]).abs().amax(dim=(1, 2, 3))
    assert float((steps > 25).float().mean()) > 0.9


# --- networks -----------------------------------------------------------------------------------


def bright_or_dark(count: int, seed: int) -> Images:
    generator = seeded(seed)
    labels = torch.randint(2, (count,), generator=generator)
    noise = torch.randint(0, 90, (count, 3, SIDE, SIDE), generator=generator)
    return Images((noise + 120 * labels[:, None, None, None]).to(torch.uint8), labels)


def test_training_learns_and_the_same_seed_gives_the_same_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.mobile_net.BATCH", 16)
    monkeypatch.setattr("training.mobile_net.REPORT_INTERVAL_STEPS", 30)
    first, again = (train(TINY, bright_or_dark, classes=2, steps=60, seed=1) for _ in range(2))
    assert "step 60" in capsys.readouterr().out
    assert not first.training
    assert accuracy(first, bright_or_dark, 64, 99) == 1.0
    for name, weights in first.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name]), name


def settled(network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Let normalization see data, so that folding it changes something; scores of the inputs."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(inputs * 1.5 + 0.2)
        network.eval()
        return network(inputs)


@pytest.mark.parametrize("architecture", [TINY, LETTERS, SURFACES], ids=["tiny", "26", "20"])
def test_written_network_has_the_scores_of_the_trained_one(
    tmp_path: Path, architecture: Architecture
) -> None:
    torch.manual_seed(3)
    network = MobileNet(architecture, 7)
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=seeded(1))
    images = normalized(pixels.to(torch.uint8))
    expected = settled(network, images)
    path = tmp_path / "network.onnx"
    write_mobile_net(network, path, name="network", description="seven classes")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["scores"], {"image": images.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "BatchNormalization" not in kinds
    shortcuts = sum(block.has_shortcut for block in network.blocks)
    assert kinds.count("Add") == shortcuts
    assert [item.name for item in tmp_path.iterdir()] == ["network.onnx"]


def test_written_keyword_spotter_has_the_scores_of_the_trained_one(tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = DsCnn(5)
    features = torch.randn(6, 1, 49, 10)
    expected = settled(network, features)
    path = tmp_path / "spotter.onnx"
    write_onnx(network, path, description="five words")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["scores"], {"features": features.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4)
