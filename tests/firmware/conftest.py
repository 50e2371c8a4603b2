"""What firmware tests share: the cross compiler and QEMU, or the reason why a test is skipped."""

from __future__ import annotations

import pytest

from edgekit.deploy.toolchain import Toolchain, find_toolchain
from edgekit.emulators.qemu_board import has_qemu


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    found = find_toolchain()
    if found is None:
        pytest.skip("no cross compiler for Cortex-M")
    return found


@pytest.fixture(scope="session")
def qemu(toolchain: Toolchain) -> Toolchain:
    if not has_qemu():
        pytest.skip("qemu-system-arm is not installed")
    return toolchain
