/* Canonical paths: comparing, checking and encoding them. */
#include "wasmserve.h"

#include <stdlib.h>
#include <string.h>

static bool ends_with_slash(ws_text path)
{
    return path.size > 0 && path.data[path.size - 1] == '/';
}

bool ws_covers(ws_text prefix, ws_text path)
{
    if (ends_with_slash(prefix)) {
        prefix.size--;
    }
    return ws_starts_with(path, prefix) && (path.size == prefix.size || path.data[prefix.size] == '/');
}

static bool is_dots(ws_text segment)
{
    return segment.size == 0 || ws_equal(segment, WS(".")) || ws_equal(segment, WS(".."));
}

ws_text ws_check_path(ws_text path)
{
    if (!ws_starts_with(path, WS("/"))) {
        return WS("does not begin with `/`");
    }
    for (size_t at = 0; at < path.size; at++) {
        unsigned char byte = (unsigned char)path.data[at];
        /* U+0080 to U+009F are control characters too: C2 80 to C2 9F in UTF-8. */
        bool second = byte == 0xc2 && at + 1 < path.size && (unsigned char)path.data[at + 1] < 0xa0;
        if (byte < 0x20 || byte == 0x7f || byte == '\\' || second) {
            return WS("has a control character or a backslash");
        }
    }
    if (path.size == 1) {
        return WS_OK;
    }
    size_t end = ends_with_slash(path) ? path.size - 1 : path.size;
    size_t begin = 1;
    for (size_t at = 1; at <= end; at++) {
        if (at == end || path.data[at] == '/') {
            if (is_dots(ws_part(path, begin, at - begin))) {
                return WS("has an empty, `.` or `..` segment");
            }
            begin = at + 1;
        }
    }
    return WS_OK;
}

static bool is_hexadecimal(char digit)
{
    return (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f') || (digit >= 'A' && digit <= 'F');
}

ws_text ws_check_prefix(ws_text prefix)
{
    ws_text problem = ws_check_path(prefix);
    if (!ws_is_none(problem)) {
        return problem;
    }
    if (memchr(prefix.data, '*', prefix.size) != NULL) {
        return WS("is not a pattern: everything beneath a prefix is meant, so leave out `*`");
    }
    for (size_t at = 0; at + 2 < prefix.size; at++) {
        if (prefix.data[at] == '%' && is_hexadecimal(prefix.data[at + 1]) && is_hexadecimal(prefix.data[at + 2])) {
            return WS("is percent-encoded: prefixes are compared with decoded paths");
        }
    }
    return WS_OK;
}

/* Percent-encodes everything but letters, digits and `kept`. */
static ws_text encoded(ws_text text, ws_text kept)
{
    char *encoded = malloc(text.size * 3);
    size_t end = 0;
    for (size_t at = 0; at < text.size; at++) {
        char byte = text.data[at];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
        if (letter || memchr(kept.data, byte, kept.size) != NULL) {
            encoded[end++] = byte;
        } else {
            encoded[end++] = '%';
            encoded[end++] = "0123456789ABCDEF"[(unsigned char)byte >> 4];
            encoded[end++] = "0123456789ABCDEF"[(unsigned char)byte & 0xf];
        }
    }
    return (ws_text){encoded, end};
}

ws_text ws_encode(ws_text path)
{
    return encoded(path, WS("-._~!$&'()*+,;=:@/"));
}

ws_text ws_reference(ws_text path, ws_text query)
{
    if (ws_is_none(query)) {
        return ws_encode(path);
    }
    return ws_concat(WS_TEXTS(ws_encode(path), WS("?"), encoded(query, WS("-._~!$&'()*+,;=:@/?%"))));
}
