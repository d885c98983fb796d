/* What the operator configured for a policy. */
#include "contract.h"
#include "decision.h"
#include "json.h"
#include "wasmserve.h"

#include <stdlib.h>
#include <string.h>

static ws_text store_problem(wasi_config_store_error_t error)
{
    return error.tag == WASI_CONFIG_STORE_ERROR_UPSTREAM ? lift(error.val.upstream) : lift(error.val.io);
}

static ws_text about(ws_text key, ws_text problem)
{
    return ws_concat(WS_TEXTS(WS("`"), key, WS("` "), problem));
}

/* The text of a key, with what went wrong. */
static ws_text look_up(ws_text key, ws_text *value)
{
    contract_string_t lowered = lower(key);
    contract_option_string_t answer;
    wasi_config_store_error_t error;
    if (!wasi_config_store_get(&lowered, &answer, &error)) {
        return about(key, ws_concat(WS_TEXTS(WS("cannot be read: "), store_problem(error))));
    }
    *value = answer.is_some ? lift(answer.val) : (ws_text){0};
    return WS_OK;
}

ws_text ws_config_get(ws_text key)
{
    ws_text value = {0};
    if (!ws_is_none(look_up(key, &value))) {
        abort();
    }
    return value;
}

ws_pairs ws_config_all(void)
{
    contract_list_tuple2_string_string_t answer;
    wasi_config_store_error_t error;
    if (!wasi_config_store_get_all(&answer, &error)) {
        abort();
    }
    ws_pair *pairs = malloc(answer.len * sizeof *pairs);
    for (size_t at = 0; at < answer.len; at++) {
        pairs[at] = (ws_pair){lift(answer.ptr[at].f0), lift(answer.ptr[at].f1)};
    }
    return (ws_pairs){pairs, answer.len};
}

/* Whether a text comes before another, byte by byte. */
static bool comes_before(ws_text a, ws_text b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order < 0 : a.size < b.size;
}

static ws_text listed(const ws_text *keys, size_t count)
{
    ws_text list = WS("");
    for (size_t at = 0; at < count; at++) {
        list = ws_concat(WS_TEXTS(list, at == 0 ? WS("`") : WS(", `"), keys[at], WS("`")));
    }
    return list;
}

ws_text ws_config_only(ws_texts known)
{
    ws_pairs all = ws_config_all();
    ws_text *unknown = malloc(all.count * sizeof *unknown);
    size_t count = 0;
    for (size_t at = 0; at < all.count; at++) {
        ws_text key = all.items[at].key;
        bool found = false;
        for (size_t other = 0; other < known.count; other++) {
            found = found || ws_equal(key, known.items[other]);
        }
        if (found) {
            continue;
        }
        size_t place = count++;
        for (; place > 0 && comes_before(key, unknown[place - 1]); place--) {
            unknown[place] = unknown[place - 1];
        }
        unknown[place] = key;
    }
    if (count == 0) {
        return WS_OK;
    }
    ws_text names = known.count == 0 ? WS("none") : listed(known.items, known.count);
    return ws_concat(WS_TEXTS(WS("unknown "), listed(unknown, count), WS("; known: "), names));
}

ws_text ws_config_required(ws_text key, ws_text *value)
{
    ws_text problem = look_up(key, value);
    return ws_is_none(problem) && ws_is_none(*value) ? about(key, WS("is missing")) : problem;
}

static ws_text expected(ws_text key, ws_text found, ws_text what)
{
    return about(key, ws_concat(WS_TEXTS(WS("is "), ws_quoted(found), WS(": expected "), what)));
}

ws_text ws_config_number(ws_text key, uint64_t *value)
{
    ws_text text;
    ws_text problem = look_up(key, &text);
    if (!ws_is_none(problem) || ws_is_none(text)) {
        return problem;
    }
    uint64_t number = 0;
    bool fits = text.size > 0;
    for (size_t at = 0; fits && at < text.size; at++) {
        uint64_t digit = (uint64_t)(unsigned char)text.data[at] - '0';
        fits = digit <= 9 && number <= (UINT64_MAX - digit) / 10;
        number = number * 10 + digit;
    }
    if (!fits) {
        return expected(key, text, WS("a whole number"));
    }
    *value = number;
    return WS_OK;
}

ws_text ws_config_boolean(ws_text key, bool *value)
{
    ws_text text;
    ws_text problem = look_up(key, &text);
    if (!ws_is_none(problem) || ws_is_none(text)) {
        return problem;
    }
    bool on = ws_equal(text, WS("true"));
    if (!on && !ws_equal(text, WS("false"))) {
        return expected(key, text, WS("true or false"));
    }
    *value = on;
    return WS_OK;
}

ws_text ws_config_strings(ws_text key, ws_texts *value)
{
    ws_text text;
    ws_text problem = look_up(key, &text);
    if (!ws_is_none(problem) || ws_is_none(text)) {
        return problem;
    }
    /* Without the text, which may be a secret in the wrong place. */
    return json_strings(text, value) ? WS_OK : about(key, WS("is not what is expected: a list of strings"));
}

ws_text ws_config_table(ws_text key, ws_pairs *value)
{
    ws_text text;
    ws_text problem = look_up(key, &text);
    if (!ws_is_none(problem) || ws_is_none(text)) {
        return problem;
    }
    return json_table(text, value) ? WS_OK : about(key, WS("is not what is expected: a table of strings"));
}

void ws_note(ws_mistakes *mistakes, ws_text error)
{
    if (ws_is_none(error)) {
        return;
    }
    ws_text between = ws_is_none(mistakes->noted) ? WS("") : WS("; ");
    mistakes->noted = ws_concat(WS_TEXTS(mistakes->noted, between, error));
}

void ws_note_text(ws_mistakes *mistakes, ws_text key, ws_text text, ws_text problem)
{
    if (!ws_is_none(problem)) {
        ws_note(mistakes, ws_concat(WS_TEXTS(WS("`"), key, WS("`: "), ws_quoted(text), WS(" "), problem)));
    }
}

ws_text ws_check(const ws_mistakes *mistakes)
{
    return mistakes->noted;
}
