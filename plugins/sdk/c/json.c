/* Reads arrays and objects of strings. The server writes them, so that what is accepted here is what it writes. */
#include "json.h"

#include <stdlib.h>

struct reader {
    const char *at, *end;
};

static void skip_blanks(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\t' || *reader->at == '\r')) {
        reader->at++;
    }
}

/* Takes a character, with blanks before it, if it is the next. */
static bool took(struct reader *reader, char character)
{
    skip_blanks(reader);
    if (reader->at == reader->end || *reader->at != character) {
        return false;
    }
    reader->at++;
    return true;
}

/* Four hexadecimal digits; -1 for anything else. */
static int32_t unit(struct reader *reader)
{
    int32_t value = 0;
    if (reader->end - reader->at < 4) {
        return -1;
    }
    for (int digit = 0; digit < 4; digit++) {
        char c = *reader->at++;
        int32_t number = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (number < 0) {
            return -1;
        }
        value = value * 16 + number;
    }
    return value;
}

/* The code point after `\u`; -1 for half a surrogate pair and anything else that is none. */
static int32_t code_point(struct reader *reader)
{
    int32_t high = unit(reader);
    if (high < 0xd800 || high > 0xdfff) {
        return high;
    }
    if (high > 0xdbff || reader->end - reader->at < 6 || reader->at[0] != '\\' || reader->at[1] != 'u') {
        return -1;
    }
    reader->at += 2;
    int32_t low = unit(reader);
    return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static size_t utf8(char *to, int32_t point)
{
    if (point < 0x80) {
        to[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        to[0] = (char)(0xc0 | point >> 6);
        to[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        to[0] = (char)(0xe0 | point >> 12);
        to[1] = (char)(0x80 | (point >> 6 & 0x3f));
        to[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | point >> 18);
    to[1] = (char)(0x80 | (point >> 12 & 0x3f));
    to[2] = (char)(0x80 | (point >> 6 & 0x3f));
    to[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

static bool string(struct reader *reader, ws_text *string)
{
    if (!took(reader, '"')) {
        return false;
    }
    /* Unescaped, it is never longer. */
    char *text = malloc((size_t)(reader->end - reader->at));
    size_t size = 0;
    while (reader->at < reader->end && *reader->at != '"') {
        if (*reader->at != '\\') {
            text[size++] = *reader->at++;
            continue;
        }
        reader->at++;
        if (reader->at == reader->end) {
            return false;
        }
        char escape = *reader->at++;
        int32_t point = escape == 'n'   ? '\n'
                        : escape == 't' ? '\t'
                        : escape == 'r' ? '\r'
                        : escape == 'b' ? '\b'
                        : escape == 'f' ? '\f'
                        : escape == 'u' ? code_point(reader)
                                        : escape;
        if (point < 0) {
            return false;
        }
        size += utf8(text + size, point);
    }
    *string = (ws_text){text, size};
    return took(reader, '"');
}

static bool ended(struct reader *reader)
{
    skip_blanks(reader);
    return reader->at == reader->end;
}

bool json_strings(ws_text text, ws_texts *strings)
{
    struct reader reader = {text.data, text.data + text.size};
    ws_text *items = NULL;
    size_t count = 0;
    if (!took(&reader, '[')) {
        return false;
    }
    if (!took(&reader, ']')) {
        do {
            items = realloc(items, (count + 1) * sizeof *items);
            if (!string(&reader, &items[count++])) {
                return false;
            }
        } while (took(&reader, ','));
        if (!took(&reader, ']')) {
            return false;
        }
    }
    *strings = (ws_texts){items, count};
    return ended(&reader);
}

bool json_table(ws_text text, ws_pairs *pairs)
{
    struct reader reader = {text.data, text.data + text.size};
    ws_pair *items = NULL;
    size_t count = 0;
    if (!took(&reader, '{')) {
        return false;
    }
    if (!took(&reader, '}')) {
        do {
            items = realloc(items, (count + 1) * sizeof *items);
            if (!string(&reader, &items[count].key) || !took(&reader, ':') || !string(&reader, &items[count].value)) {
                return false;
            }
            count++;
        } while (took(&reader, ','));
        if (!took(&reader, '}')) {
            return false;
        }
    }
    *pairs = (ws_pairs){items, count};
    return ended(&reader);
}
