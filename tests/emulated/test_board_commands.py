"""``edgekit flash`` and ``edgekit monitor`` on emulated boards, as a user types them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.deploy.serial.flash_map import flash_map_of
from edgekit.deploy.serial.image_facts import flash_image_of
from edgekit.emulators.nor_flash import NorFlash
from edgekit.emulators.serial_board import EmulatedPort, emulated_board
from edgekit.profiles import load_profile
from tests.emulated.conftest import Edgekit, KeywordSpotter

pytest.importorskip("smpclient", reason="the extra serial is not installed")
pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

FLASH = flash_map_of(load_profile("stm32f405"))
SLOT = FLASH.slot_address - FLASH.address


def flashed_with(keyword_spotter: KeywordSpotter) -> NorFlash:
    image, _ = flash_image_of(keyword_spotter.package, "an3155")
    flash = NorFlash(FLASH)
    flash.data[: len(image)] = image
    return flash


def check_hundred_inferences(
    edgekit: Edgekit, board: EmulatedPort, kws: KeywordSpotter, tmp_path: Path
) -> None:
    samples = kws.save_samples(tmp_path / "samples.npz")
    target = tmp_path / "outputs.npz"
    code, answer = edgekit(
        "monitor", kws.package.root, "--port", board.url, "--input", samples, "--output", target
    )
    assert code == 0
    assert answer["runs"] == 100
    assert answer["latency_s"] > 0
    assert np.array_equal(answer["outputs"][kws.output], kws.expected)
    with np.load(target) as outputs:
        assert np.array_equal(outputs[kws.output], kws.expected)


@pytest.mark.slow
def test_flash_by_rom_bootloader_then_a_hundred_inferences(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter, tmp_path: Path
) -> None:
    """RFC 2217: even parity and modem lines reach the board; it boots what was written."""
    image, _ = flash_image_of(keyword_spotter.package, "an3155")
    with emulated_board(FLASH) as emulated:
        code, answer = edgekit("flash", keyword_spotter.package.root, "--port", emulated.url)
        assert code == 0
        assert (answer["port"], answer["protocol"]) == (emulated.url, "an3155")
        assert answer["verified"] is True
        assert answer["bytes"] == len(image)
        assert emulated.board.flash.data[: len(image)] == image
        events = emulated.board.events
        assert events.index("parity=E") < events.index("dtr=0", events.index("dtr=1"))
        start = events.index("rts=1")
        assert events[start : start + 3] == ["rts=1", "dtr=1", "dtr=0"]
        assert events[-1] == "dtr=0" or "parity=N" in events[start:]
        assert emulated.board.state == "application"
        check_hundred_inferences(edgekit, emulated, keyword_spotter, tmp_path)


@pytest.mark.slow
def test_flash_by_smp_then_a_hundred_inferences(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter, tmp_path: Path
) -> None:
    """MCUboot in serial recovery; the program runs from its slot."""
    root = keyword_spotter.package.root
    image, _ = flash_image_of(keyword_spotter.package, "smp")
    with emulated_board(FLASH, protocol="smp", has_modem_lines=False) as emulated:
        code, answer = edgekit("flash", root, "--port", emulated.url, "--protocol", "smp")
        assert code == 0
        assert (answer["protocol"], answer["verified"]) == ("smp", True)
        assert emulated.board.flash.data[SLOT : SLOT + len(image)] == image
        assert emulated.board.state == "application"
        check_hundred_inferences(edgekit, emulated, keyword_spotter, tmp_path)


@pytest.mark.slow
def test_offered_board_that_is_ended_leaves_nothing_running(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter
) -> None:
    command = [sys.executable, "-m", "edgekit.emulators", "stm32f405", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().split()[-1]
        code, _ = edgekit("flash", keyword_spotter.package.root, "--port", url)
        assert code == 0
        threads = Path(f"/proc/{process.pid}/task").iterdir()
        running = [child for thread in threads for child in children_of(thread)]
        assert len(running) == 1
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert not any(Path(f"/proc/{child}").exists() for child in running)


def test_board_is_not_offered_where_nothing_can_run_its_firmware(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekit.emulators", "stm32f405", "--port", "0"]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "qemu-system-arm is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def children_of(thread: Path) -> list[str]:
    """Return the processes that a thread has started (Linux)."""
    return (thread / "children").read_text().split()


@pytest.mark.slow
def test_board_that_loses_power_is_repaired_by_the_same_command(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter
) -> None:
    image, _ = flash_image_of(keyword_spotter.package, "an3155")
    command = ("flash", keyword_spotter.package.root, "--port")
    flash = flashed_with(keyword_spotter)
    flash.cut_at = 2000
    with emulated_board(FLASH, flash=flash) as emulated:
        code, answer = edgekit(*command, emulated.url)
        assert (code, answer["error"]["exit_code"]) == (6, 6)
        assert "no answer" in answer["error"]["message"]
        assert emulated.board.state == "off"
        emulated.board.power_on()
        assert emulated.board.state == "bootloader"
        code, answer = edgekit(*command, emulated.url)
        assert (code, answer["verified"]) == (0, True)
        assert flash.data[: len(image)] == image
        assert emulated.board.state == "application"


@pytest.mark.slow
def test_smp_board_that_falls_silent_ends_with_exit_6(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter
) -> None:
    root = keyword_spotter.package.root
    with emulated_board(FLASH, protocol="smp", has_modem_lines=False) as emulated:
        emulated.board.silent_after = 5000
        code, answer = edgekit("flash", root, "--port", emulated.url, "--protocol", "smp")
        assert code == 6
        assert "no answer" in answer["error"]["message"]
        emulated.board.power_on()
        assert emulated.board.state == "bootloader"


def test_board_of_another_type_is_left_alone(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter
) -> None:
    other = flash_map_of(load_profile("stm32l4r5"))
    with emulated_board(other) as emulated:
        code, answer = edgekit("flash", keyword_spotter.package.root, "--port", emulated.url)
        assert code == 6
        assert "stm32l4r5" in answer["error"]["message"]
        assert emulated.board.flash.is_blank()


def test_bit_that_flipped_in_flash_is_found_at_boot(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter, tmp_path: Path
) -> None:
    flash = flashed_with(keyword_spotter)
    # In the weights: nothing crashes, only the outputs would be wrong.
    flash.flip(30_000, 3)
    samples = keyword_spotter.save_samples(tmp_path / "samples.npz")
    with emulated_board(FLASH, flash=flash) as emulated:
        code, answer = edgekit(
            "monitor", keyword_spotter.package.root, "--port", emulated.url, "--input", samples
        )
    assert code == 6
    assert "damaged" in answer["error"]["message"]


def test_monitor_describes_the_board_and_refuses_arrays_of_another_shape(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter, tmp_path: Path
) -> None:
    with emulated_board(FLASH, flash=flashed_with(keyword_spotter)) as emulated:
        code, answer = edgekit("monitor", "--port", emulated.url)
        assert code == 0
        assert answer["model"] == keyword_spotter.package.manifest.model.name
        assert [tensor["kind"] for tensor in answer["tensors"]] == ["input", "output"]
        wrong = tmp_path / "wrong.npz"
        np.savez(wrong, **{keyword_spotter.input: np.zeros((3, 3), np.int8)})
        code, answer = edgekit("monitor", "--port", emulated.url, "--input", wrong)
        assert code == 2
        assert "shape" in answer["error"]["message"]


def test_monitor_of_a_silent_board_ends_with_exit_6(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter
) -> None:
    with emulated_board(FLASH) as emulated:
        code, answer = edgekit("monitor", "--port", emulated.url, "--timeout", "1")
    assert code == 6
    assert "hello" in answer["error"]["message"]


def test_flash_refuses_a_missing_package_and_a_protocol_of_other_boards(
    edgekit: Edgekit, keyword_spotter: KeywordSpotter, tmp_path: Path
) -> None:
    code, answer = edgekit("flash", tmp_path / "missing.edgekit", "--port", "loop://")
    assert code == 5
    assert answer["error"]["exit_code"] == 5
    code, answer = edgekit(
        "flash", keyword_spotter.package.root, "--port", "loop://", "--protocol", "uf2"
    )
    assert code == 2
    assert "an3155" in answer["error"]["message"]
