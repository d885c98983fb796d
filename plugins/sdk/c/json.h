/* The JSON (RFC 8259) that lists and tables of strings arrive as. Not for plugins: they use wasmserve.h. */
#ifndef WASMSERVE_JSON_H
#define WASMSERVE_JSON_H

#include "wasmserve.h"

/* Whether a text is an array of strings, and which. */
bool json_strings(ws_text text, ws_texts *strings);

/* Whether a text is an object whose values are strings, and which. */
bool json_table(ws_text text, ws_pairs *pairs);

#endif
