# Sourced by the other scripts: a virtual environment in .venv with edgekit installed from this checkout.
#
#   setup_environment EXTRAS    for instance "onnx,tflite" or "onnx,tflite,test,lint"
#
# Installs again only when pyproject.toml, CMakeLists.txt, a C source or the extras changed.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV="$ROOT/.venv"
USER_PATH=$PATH
export PATH="$VENV/bin:$PATH" VIRTUAL_ENV="$VENV" PIP_DISABLE_PIP_VERSION_CHECK=1

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        echo "please run as root: $*" >&2
        exit 1
    fi
}

apt_install() {
    command -v apt-get >/dev/null || { echo "please install: $*" >&2; exit 1; }
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "Python 3.11 or newer is needed (set PYTHON to name one)" >&2
    exit 1
}

check_links() {
    if [ ! -d "$ROOT/edgekit/converters" ]; then
        echo "edgekit/converters is not a link to ../converters: git config core.symlinks true && git checkout -- edgekit" >&2
        exit 1
    fi
}

fingerprint() {
    (cd "$ROOT" && cat pyproject.toml CMakeLists.txt && find edgekit/csrc -type f -exec cat {} + && echo "$1") | sha256sum
}

setup_environment() {
    local extras=$1 python
    check_links
    command -v cc >/dev/null || apt_install gcc libc6-dev
    if [ ! -x "$VENV/bin/python" ]; then
        python=$(find_python)
        "$python" -m venv "$VENV" 2>/dev/null || { apt_install python3-venv && "$python" -m venv "$VENV"; }
    fi
    if [ "$(cat "$VENV/.fingerprint" 2>/dev/null)" != "$(fingerprint "$extras")" ]; then
        echo "setting up $VENV with edgekit[$extras] ..." >&2
        "$VENV/bin/python" -m pip install -q --upgrade pip
        "$VENV/bin/python" -m pip install -q -e "$ROOT[$extras]"
        fingerprint "$extras" >"$VENV/.fingerprint"
    fi
}

# Cross compiler and QEMU for Cortex-M, and vectors that this processor may lack in plain C. Without
# root rights the compiler of the ziglang wheel serves; tests that need what cannot be installed are
# skipped and counted.
setup_firmware_tools() {
    local missing=()
    command -v arm-none-eabi-gcc >/dev/null || missing+=(gcc-arm-none-eabi)
    command -v qemu-system-arm >/dev/null || missing+=(qemu-system-arm)
    [ -e /usr/include/simde ] || missing+=(libsimde-dev)
    [ ${#missing[@]} -gt 0 ] || return 0
    (apt_install "${missing[@]}") || echo "not installed: ${missing[*]}" >&2
    command -v arm-none-eabi-gcc >/dev/null || python -c 'import ziglang' 2>/dev/null ||
        python -m pip install -q ziglang || echo "no cross compiler for Cortex-M" >&2
}

# llama.cpp, which language models are compared with, and a browser for the chat page; tests that
# need what cannot be installed are skipped and counted.
setup_language_peers() {
    if ! python -c 'import llama_cpp' 2>/dev/null; then
        command -v c++ >/dev/null || (apt_install g++) || true
        CMAKE_ARGS="${CMAKE_ARGS:--DGGML_NATIVE=ON}" python -m pip install -q llama-cpp-python==0.3.36 ||
            echo "not installed: llama-cpp-python" >&2
    fi
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || (apt_install chromium) ||
        echo "not installed: chromium" >&2
}
