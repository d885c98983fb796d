/* What there is of the C library's <stdlib.h>: memory, until the end of a decision. */
#ifndef WASMSERVE_STDLIB_H
#define WASMSERVE_STDLIB_H

#include <stddef.h>

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *memory, size_t size);

/* Does nothing: what was allocated since `ws_configure` is given back when the next decision begins. */
void free(void *memory);

_Noreturn void abort(void);

#endif
