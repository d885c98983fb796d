/* Texts: comparing, joining and quoting them. */
#include "wasmserve.h"

#include <stdlib.h>
#include <string.h>

bool ws_is_none(ws_text text)
{
    return text.data == NULL;
}

bool ws_equal(ws_text a, ws_text b)
{
    if (ws_is_none(a) || ws_is_none(b)) {
        return ws_is_none(a) && ws_is_none(b);
    }
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

bool ws_starts_with(ws_text text, ws_text beginning)
{
    return text.size >= beginning.size && memcmp(text.data, beginning.data, beginning.size) == 0;
}

ws_text ws_part(ws_text text, size_t from, size_t size)
{
    if (from > text.size) {
        from = text.size;
    }
    size_t rest = text.size - from;
    return (ws_text){text.data + from, size < rest ? size : rest};
}

ws_text ws_concat(ws_texts parts)
{
    size_t size = 0;
    for (size_t at = 0; at < parts.count; at++) {
        size += parts.items[at].size;
    }
    char *joined = malloc(size);
    size_t end = 0;
    for (size_t at = 0; at < parts.count; at++) {
        memcpy(joined + end, parts.items[at].data, parts.items[at].size);
        end += parts.items[at].size;
    }
    return (ws_text){joined, size};
}

ws_text ws_decimal(uint64_t number)
{
    enum { DIGITS = 20 };
    char *digits = malloc(DIGITS);
    size_t first = DIGITS;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return (ws_text){digits + first, DIGITS - first};
}

ws_text ws_quoted(ws_text text)
{
    /* At most `\u00XX` for a byte. */
    char *quoted = malloc(text.size * 6 + 2);
    size_t end = 0;
    quoted[end++] = '"';
    for (size_t at = 0; at < text.size; at++) {
        unsigned char byte = (unsigned char)text.data[at];
        if (byte == '"' || byte == '\\') {
            quoted[end++] = '\\';
            quoted[end++] = (char)byte;
        } else if (byte < 0x20 || byte == 0x7f) {
            memcpy(quoted + end, "\\u00", 4);
            quoted[end + 4] = "0123456789abcdef"[byte >> 4];
            quoted[end + 5] = "0123456789abcdef"[byte & 0xf];
            end += 6;
        } else {
            quoted[end++] = (char)byte;
        }
    }
    quoted[end++] = '"';
    return (ws_text){quoted, end};
}
