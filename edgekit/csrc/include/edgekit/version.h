/* Version of the binary interface; the Python side refuses a library of another one. */
#ifndef EDGEKIT_VERSION_H
#define EDGEKIT_VERSION_H

#include <stdint.h>

#if defined(_WIN32)
#define EK_API __declspec(dllexport)
#elif defined(__GNUC__)
#define EK_API __attribute__((visibility("default")))
#else
#define EK_API
#endif

#define EK_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

/* EK_ABI_VERSION of the library as it was built. */
EK_API int32_t ek_abi_version(void);

#ifdef __cplusplus
}
#endif

#endif
