/* The questions that a policy may ask. */
#include "contract.h"
#include "decision.h"
#include "wasmserve.h"

#include <stdlib.h>

/* The bindings' texts have the shape of ours: a pointer and a size. */
_Static_assert(sizeof(contract_string_t) == sizeof(ws_text), "texts of the bindings are laid out as ours");
_Static_assert(sizeof(contract_list_u8_t) == sizeof(ws_text), "bytes of the bindings are laid out as ours");

static ws_text asked(void (*question)(contract_string_t *))
{
    contract_string_t answer;
    question(&answer);
    return lift(answer);
}

static ws_text asked_by_name(bool (*question)(contract_string_t *, contract_string_t *), ws_text name)
{
    contract_string_t lowered = lower(name), answer;
    return question(&lowered, &answer) ? lift(answer) : (ws_text){0};
}

/* A list whose items are laid out as texts are; empty ones are told from none. */
static ws_texts texts(void *items, size_t count)
{
    ws_text *texts = items;
    for (size_t at = 0; at < count; at++) {
        if (texts[at].size == 0) {
            texts[at].data = "";
        }
    }
    return (ws_texts){texts, count};
}

ws_text ws_method(void)
{
    return asked(wasmserve_policy_request_method);
}

ws_text ws_path(void)
{
    return asked(wasmserve_policy_request_path);
}

ws_texts ws_targets(void)
{
    contract_list_string_t answer;
    wasmserve_policy_request_targets(&answer);
    return texts(answer.ptr, answer.len);
}

bool ws_reaches(ws_text prefix)
{
    return ws_reaches_any((ws_texts){&prefix, 1});
}

static bool covered(ws_texts prefixes, ws_text path)
{
    for (size_t at = 0; at < prefixes.count; at++) {
        if (ws_covers(prefixes.items[at], path)) {
            return true;
        }
    }
    return false;
}

bool ws_reaches_any(ws_texts prefixes)
{
    if (covered(prefixes, ws_path())) {
        return true;
    }
    ws_texts targets = ws_targets();
    for (size_t at = 0; at < targets.count; at++) {
        if (covered(prefixes, targets.items[at])) {
            return true;
        }
    }
    return false;
}

ws_text ws_query(void)
{
    contract_string_t answer;
    return wasmserve_policy_request_query(&answer) ? lift(answer) : (ws_text){0};
}

ws_text ws_query_parameter(ws_text name)
{
    return asked_by_name(wasmserve_policy_request_query_parameter, name);
}

ws_texts ws_query_parameter_values(ws_text name)
{
    contract_string_t lowered = lower(name);
    contract_list_string_t answer;
    wasmserve_policy_request_query_parameter_values(&lowered, &answer);
    return texts(answer.ptr, answer.len);
}

ws_text ws_request_header(ws_text name)
{
    return asked_by_name(wasmserve_policy_request_header, name);
}

ws_texts ws_request_header_values(ws_text name)
{
    contract_string_t lowered = lower(name);
    contract_list_list_u8_t answer;
    wasmserve_policy_request_header_values(&lowered, &answer);
    return texts(answer.ptr, answer.len);
}

ws_text ws_cookie(ws_text name)
{
    return asked_by_name(wasmserve_policy_request_cookie, name);
}

ws_text ws_scheme(void)
{
    return asked(wasmserve_policy_request_scheme);
}

ws_text ws_host(void)
{
    return asked(wasmserve_policy_request_host);
}

ws_text ws_site(void)
{
    return asked(wasmserve_policy_request_site);
}

ws_text ws_client_address(void)
{
    contract_string_t answer;
    return wasmserve_policy_request_client_address(&answer) ? lift(answer) : (ws_text){0};
}

bool ws_client_within(ws_text cidr)
{
    contract_string_t lowered = lower(cidr);
    return wasmserve_policy_request_client_within(&lowered);
}

bool ws_client_within_any(ws_texts networks)
{
    for (size_t at = 0; at < networks.count; at++) {
        if (ws_client_within(networks.items[at])) {
            return true;
        }
    }
    return false;
}

ws_text ws_fact(ws_text name)
{
    return asked_by_name(wasmserve_policy_request_fact, name);
}

uint64_t ws_now(void)
{
    return wasmserve_policy_clock_now();
}

bool ws_before(uint64_t unix_seconds)
{
    return wasmserve_policy_clock_before(unix_seconds);
}
