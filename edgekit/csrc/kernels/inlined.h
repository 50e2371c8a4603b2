/* Functions that are compiled into their callers, so that functions handed to them are called
 * directly: the stack's bound knows every call. And those that are kept apart from their callers,
 * so that their loops have all registers. */
#ifndef EDGEKIT_KERNELS_INLINED_H
#define EDGEKIT_KERNELS_INLINED_H

#if defined(__GNUC__)
#define EK_INLINED static inline __attribute__((always_inline))
#define EK_APART static __attribute__((noinline))
#else
#define EK_INLINED static inline
#define EK_APART static
#endif

#endif
