/* What a decision is made of. Not for plugins: they use wasmserve.h. */
#ifndef WASMSERVE_DECISION_H
#define WASMSERVE_DECISION_H

#include "contract.h"
#include "wasmserve.h"

typedef exports_wasmserve_policy_guest_decision_t contract_decision;

struct ws_decision {
    /* There is a reason why there is none. */
    bool failed;
    ws_text reason;
    contract_decision contract;
};

/* A text as the bindings have it. They do not change it. */
static inline contract_string_t lower(ws_text text)
{
    return (contract_string_t){(uint8_t *)text.data, text.size};
}

/* A text that the server gave. Empty ones are told from none. */
static inline ws_text lift(contract_string_t string)
{
    return (ws_text){string.len == 0 ? "" : (const char *)string.ptr, string.len};
}

#endif
