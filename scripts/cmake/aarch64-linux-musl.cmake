# Cross-compiles for 64-bit ARM without glibc, by the compiler of the ziglang wheel (no root needed):
#   cmake --toolchain scripts/cmake/aarch64-linux-musl.cmake -S . -B build-aarch64
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
find_program(EDGEKIT_PYTHON NAMES python3 python REQUIRED)
set(CMAKE_C_COMPILER ${EDGEKIT_PYTHON} -m ziglang cc -target aarch64-linux-musl)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
