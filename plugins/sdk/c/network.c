/* Blocks of addresses in a configuration. */
#include "wasmserve.h"

#include <string.h>

/* A number in decimal digits without leading zeros, at most `most`; -1 for anything else. */
static int decimal(ws_text text, int most)
{
    int number = 0;
    if (text.size == 0 || text.size > 3 || (text.size > 1 && text.data[0] == '0')) {
        return -1;
    }
    for (size_t at = 0; at < text.size; at++) {
        if (text.data[at] < '0' || text.data[at] > '9') {
            return -1;
        }
        number = number * 10 + (text.data[at] - '0');
    }
    return number <= most ? number : -1;
}

/* A group of an IPv6 address; -1 for anything else. */
static int hexadecimal(ws_text text)
{
    int number = 0;
    if (text.size == 0 || text.size > 4) {
        return -1;
    }
    for (size_t at = 0; at < text.size; at++) {
        char digit = text.data[at];
        int value = digit >= '0' && digit <= '9'   ? digit - '0'
                    : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                    : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                   : -1;
        if (value < 0) {
            return -1;
        }
        number = number * 16 + value;
    }
    return number;
}

/* The text before a byte, or all of it; what follows the byte is left in `rest`, or none. */
static ws_text before(ws_text text, char byte, ws_text *rest)
{
    const char *found = text.size == 0 ? NULL : memchr(text.data, byte, text.size);
    if (found == NULL) {
        *rest = (ws_text){0};
        return text;
    }
    size_t size = (size_t)(found - text.data);
    *rest = ws_part(text, size + 1, text.size);
    return ws_part(text, 0, size);
}

static bool is_ipv4(ws_text text, int *first, int *second)
{
    int parts[4];
    for (int at = 0; at < 4; at++) {
        if (ws_is_none(text)) {
            return false;
        }
        parts[at] = decimal(before(text, '.', &text), 255);
        if (parts[at] < 0) {
            return false;
        }
    }
    *first = parts[0] * 256 + parts[1];
    *second = parts[2] * 256 + parts[3];
    return ws_is_none(text);
}

enum { GROUPS = 8 };

/* The groups of one side of `::`, from `count` on; how many there are then, or -1. The last may be an IPv4 address. */
static int groups_of(ws_text text, int groups[GROUPS], int count)
{
    while (!ws_is_none(text)) {
        ws_text group = before(text, ':', &text);
        int first, second;
        if (ws_is_none(text) && count <= GROUPS - 2 && is_ipv4(group, &first, &second)) {
            groups[count++] = first;
            groups[count++] = second;
        } else if (count < GROUPS && hexadecimal(group) >= 0) {
            groups[count++] = hexadecimal(group);
        } else {
            return -1;
        }
    }
    return count;
}

/* Where `::` begins; the size of the text when it has none. */
static size_t gap(ws_text text)
{
    for (size_t at = 0; at + 1 < text.size; at++) {
        if (text.data[at] == ':' && text.data[at + 1] == ':') {
            return at;
        }
    }
    return text.size;
}

static bool is_ipv6(ws_text text, int groups[GROUPS])
{
    size_t at = gap(text);
    if (at == text.size) {
        return groups_of(text, groups, 0) == GROUPS;
    }
    ws_text left = ws_part(text, 0, at), right = ws_part(text, at + 2, text.size);
    int begin = 0, last[GROUPS], size = 0;
    if (left.size > 0) {
        begin = groups_of(left, groups, 0);
        /* An IPv4 address stands at the end alone. */
        if (memchr(left.data, '.', left.size) != NULL) {
            return false;
        }
    }
    if (right.size > 0) {
        size = groups_of(right, last, 0);
    }
    if (begin < 0 || size < 0 || begin + size >= GROUPS) {
        return false;
    }
    for (int zero = begin; zero < GROUPS - size; zero++) {
        groups[zero] = 0;
    }
    memcpy(groups + GROUPS - size, last, (size_t)size * sizeof *last);
    return true;
}

/* An IPv4 address in IPv6 form. */
static bool is_mapped(const int groups[GROUPS])
{
    for (int at = 0; at < 5; at++) {
        if (groups[at] != 0) {
            return false;
        }
    }
    return groups[5] == 0xffff;
}

ws_text ws_check_network(ws_text network)
{
    ws_text length;
    ws_text address = before(network, '/', &length);
    int first, second, groups[GROUPS];
    int bits = is_ipv4(address, &first, &second) ? 32 : is_ipv6(address, groups) ? 128 : 0;
    if (bits == 0) {
        return WS("is neither an address nor a CIDR block such as 10.0.0.0/8 or 2001:db8::/32");
    }
    /* Clients' addresses are compared in their canonical form, which such a block would never hold. */
    if (bits == 128 && is_mapped(groups)) {
        return WS("is an IPv4 address in IPv6 form: write it as IPv4");
    }
    if (!ws_is_none(length) && decimal(length, bits) < 0) {
        return bits == 32 ? WS("has a length that is not 0 to 32") : WS("has a length that is not 0 to 128");
    }
    return WS_OK;
}
