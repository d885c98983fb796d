/* Shows what lies beneath a prefix to one network alone. */
#include "wasmserve.h"

static ws_text prefix, network;

ws_text ws_configure(void)
{
    ws_mistakes mistakes = {0};
    ws_note(&mistakes, ws_config_only(WS_TEXTS(WS("prefix"), WS("network"))));
    ws_note(&mistakes, ws_config_required(WS("prefix"), &prefix));
    ws_note(&mistakes, ws_config_required(WS("network"), &network));
    if (ws_is_none(ws_check(&mistakes))) {
        ws_note_text(&mistakes, WS("prefix"), prefix, ws_check_prefix(prefix));
        ws_note_text(&mistakes, WS("network"), network, ws_check_network(network));
    }
    return ws_check(&mistakes);
}

ws_decision *ws_decide(void)
{
    if (ws_reaches(prefix) && !ws_client_within(network)) {
        return ws_deny(403);
    }
    ws_decision *decision = ws_proceed();
    ws_header(decision, WS("X-Policy"), WS("my-policy"));
    return decision;
}
