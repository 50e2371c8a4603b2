/* Functions that are compiled into their callers, so that functions handed to them are called
 * directly: the stack's bound knows every call. */
#ifndef EDGEKIT_KERNELS_INLINED_H
#define EDGEKIT_KERNELS_INLINED_H

#if defined(__GNUC__)
#define EK_INLINED static inline __attribute__((always_inline))
#else
#define EK_INLINED static inline
#endif

#endif
