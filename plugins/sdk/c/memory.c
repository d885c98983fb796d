/* The C library's memory and strings, as far as they are needed.
 *
 * A decision starts from what `ws_configure` left in memory, and is over in microseconds. So memory is taken from one end and
 * never given back piece by piece: when the next decision begins (in an instance that is used again), the end is where it was
 * after `ws_configure`. */
#include "memory.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Where the linker's data ends. */
extern unsigned char __heap_base;

enum { PAGE = 64 * 1024, ALIGNMENT = 16 };

/* Before each piece of memory stands how large it is. */
struct piece {
    _Alignas(ALIGNMENT) size_t size;
};

static uintptr_t end;
static uintptr_t mark;

void memory_mark(void)
{
    mark = end;
}

void memory_rewind(void)
{
    if (mark != 0) {
        end = mark;
    }
}

void *malloc(size_t size)
{
    if (end == 0) {
        end = ((uintptr_t)&__heap_base + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1);
    }
    if (size > PTRDIFF_MAX - sizeof(struct piece) - ALIGNMENT) {
        abort();
    }
    size_t whole = sizeof(struct piece) + ((size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1));
    size_t room = __builtin_wasm_memory_size(0) * (size_t)PAGE - end;
    if (whole > room) {
        size_t pages = (whole - room + PAGE - 1) / PAGE;
        /* The server traps when its limit is reached. */
        if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX) {
            abort();
        }
    }
    struct piece *piece = (struct piece *)end;
    end += whole;
    piece->size = size;
    return piece + 1;
}

void *calloc(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        abort();
    }
    return memset(malloc(count * size), 0, count * size);
}

void *realloc(void *memory, size_t size)
{
    if (memory == NULL) {
        return malloc(size);
    }
    size_t known = ((struct piece *)memory - 1)->size;
    return size <= known ? memory : memcpy(malloc(size), memory, known);
}

void free(void *memory)
{
    (void)memory;
}

void abort(void)
{
    __builtin_trap();
}

/* Compilers make calls of these functions of loops: not in here. */
#define ITSELF(name) __attribute__((no_builtin(name)))

ITSELF("memcpy") void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    for (size_t at = 0; at < size; at++) {
        target[at] = source[at];
    }
    return to;
}

ITSELF("memmove") void *memmove(void *to, const void *from, size_t size)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    if ((uintptr_t)target <= (uintptr_t)source) {
        for (size_t at = 0; at < size; at++) {
            target[at] = source[at];
        }
    } else {
        for (size_t at = size; at > 0; at--) {
            target[at - 1] = source[at - 1];
        }
    }
    return to;
}

ITSELF("memset") void *memset(void *memory, int byte, size_t size)
{
    unsigned char *bytes = memory;
    for (size_t at = 0; at < size; at++) {
        bytes[at] = (unsigned char)byte;
    }
    return memory;
}

ITSELF("memcmp") int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *left = a, *right = b;
    for (size_t at = 0; at < size; at++) {
        if (left[at] != right[at]) {
            return left[at] - right[at];
        }
    }
    return 0;
}

void *memchr(const void *memory, int byte, size_t size)
{
    const unsigned char *bytes = memory;
    for (size_t at = 0; at < size; at++) {
        if (bytes[at] == (unsigned char)byte) {
            return (void *)(bytes + at);
        }
    }
    return NULL;
}

ITSELF("strlen") size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length] != '\0') {
        length++;
    }
    return length;
}

int strcmp(const char *a, const char *b)
{
    size_t at = 0;
    while (a[at] != '\0' && a[at] == b[at]) {
        at++;
    }
    return (unsigned char)a[at] - (unsigned char)b[at];
}
