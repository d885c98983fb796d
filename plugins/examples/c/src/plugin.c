/* The policy `members`, as ../README.md specifies it. */
#include "wasmserve.h"

#include <stdlib.h>
#include <string.h>

static ws_text prefix, directory;
static ws_pairs members;
static ws_texts office;
static bool closing, paced, shared;
static uint64_t closes, pace;

/* === Configured === */

/* Whether a text is made of letters of these kinds alone. */
static bool made_of(ws_text text, bool upper, const char *more)
{
    for (size_t at = 0; at < text.size; at++) {
        char byte = text.data[at];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
        if (!letter && !(upper && byte >= 'A' && byte <= 'Z') && memchr(more, byte, strlen(more)) == NULL) {
            return false;
        }
    }
    return text.size > 0;
}

static const ws_pair *member_by_token(ws_text token, size_t among)
{
    for (size_t at = 0; at < among; at++) {
        if (ws_equal(members.items[at].value, token)) {
            return &members.items[at];
        }
    }
    return NULL;
}

static void check_members(ws_mistakes *mistakes)
{
    if (members.count == 0) {
        ws_note(mistakes, WS("`members` is empty: nobody would be a member"));
    }
    for (size_t at = 0; at < members.count; at++) {
        ws_text name = members.items[at].key, token = members.items[at].value, problem = {0};
        if (!made_of(name, false, "-")) {
            problem = WS("is no name: expected a to z, 0 to 9 and `-`");
        } else if (token.size < 8 || !made_of(token, true, "-._~")) {
            problem = WS("has no token of 8 or more letters, digits, `-`, `.`, `_` and `~`");
        } else if (member_by_token(token, at) != NULL) {
            problem = WS("has the token of another member");
        }
        ws_note_text(mistakes, WS("members"), name, problem);
    }
}

ws_text ws_configure(void)
{
    ws_mistakes mistakes = {0};
    ws_note(&mistakes, ws_config_only(WS_TEXTS(WS("prefix"), WS("members"), WS("office"), WS("closes"), WS("pace"),
                                               WS("shared"))));
    ws_note(&mistakes, ws_config_required(WS("prefix"), &prefix));
    if (!ws_is_none(prefix)) {
        ws_note_text(&mistakes, WS("prefix"), prefix, ws_check_prefix(prefix));
    }
    ws_text problem = ws_config_table(WS("members"), &members);
    ws_note(&mistakes, problem);
    if (ws_is_none(problem)) {
        check_members(&mistakes);
    }
    ws_note(&mistakes, ws_config_strings(WS("office"), &office));
    for (size_t at = 0; at < office.count; at++) {
        ws_note_text(&mistakes, WS("office"), office.items[at], ws_check_network(office.items[at]));
    }
    closing = !ws_is_none(ws_config_get(WS("closes")));
    ws_note(&mistakes, ws_config_number(WS("closes"), &closes));
    paced = !ws_is_none(ws_config_get(WS("pace")));
    ws_note(&mistakes, ws_config_number(WS("pace"), &pace));
    ws_note(&mistakes, ws_config_boolean(WS("shared"), &shared));
    directory = prefix;
    if (directory.size > 0 && directory.data[directory.size - 1] == '/') {
        directory.size--;
    }
    return ws_check(&mistakes);
}

/* === Decided === */

static ws_sharing_rule sharing(void)
{
    return shared ? WS_ALLOWED : WS_DERIVED;
}

/* What a member gets. */
static ws_decision *welcome(ws_text name)
{
    ws_decision *decision = ws_proceed();
    ws_establish(decision, WS("member"), name);
    ws_header(decision, WS("X-Member"), name);
    ws_change(decision, (ws_header_change){
                            .name = WS("Cache-Control"),
                            .value = WS("private, max-age=60"),
                            .when = WS_FOUND,
                            .types = WS_TEXTS(WS("text/html")),
                        });
    ws_remove_header(decision, WS("X-Powered-By"));
    ws_missing(decision, 404, WS_TEXTS(ws_concat(WS_TEXTS(directory, WS("/missing.html")))));
    ws_text path = ws_path();
    if (path.size > 0 && path.data[path.size - 1] == '/') {
        path.size--;
    }
    if (ws_equal(path, directory)) {
        ws_paths(decision, WS_TEXTS(ws_concat(WS_TEXTS(directory, WS("/"), name, WS(".html"))),
                                    ws_concat(WS_TEXTS(directory, WS("/index.html")))));
    }
    if (paced) {
        ws_pace(decision, pace);
    }
    return decision;
}

static ws_decision *challenge(ws_text more)
{
    ws_decision *decision = ws_respond(401);
    ws_header(decision, WS("WWW-Authenticate"), ws_concat(WS_TEXTS(WS("Bearer realm=\"members\""), more)));
    ws_text_body(decision, WS("Members only.\n"));
    return decision;
}

/* Whoever an earlier policy knows. */
static ws_decision *signed_in(ws_text user)
{
    if (user.size == 0) {
        return ws_fail(WS("the fact `user` is empty"));
    }
    for (size_t at = 0; at < members.count; at++) {
        if (ws_equal(members.items[at].key, user)) {
            return welcome(user);
        }
    }
    return ws_deny(403);
}

/* The token of `Bearer TOKEN`; none of anything else. */
static ws_text bearer(ws_text authorization)
{
    static const char scheme[] = "bearer ";
    size_t at = 0;
    for (; scheme[at] != '\0'; at++) {
        char byte = at < authorization.size ? authorization.data[at] : '\0';
        if (byte >= 'A' && byte <= 'Z') {
            byte = (char)(byte - 'A' + 'a');
        }
        if (byte != scheme[at]) {
            return (ws_text){0};
        }
    }
    while (at < authorization.size && authorization.data[at] == ' ') {
        at++;
    }
    return ws_part(authorization, at, authorization.size);
}

ws_decision *ws_decide(void)
{
    if (!ws_reaches(prefix)) {
        ws_decision *decision = ws_proceed();
        ws_change(decision, (ws_header_change){
                                .operation = WS_APPEND,
                                .name = WS("Link"),
                                .value = ws_concat(WS_TEXTS(WS("<"), ws_encode(prefix), WS(">; rel=\"related\""))),
                                .when = WS_FOUND | WS_MISSING,
                                .types = WS_TEXTS(WS("text/html")),
                            });
        return decision;
    }
    ws_text method = ws_method();
    if (!ws_equal(method, WS("GET")) && !ws_equal(method, WS("HEAD"))) {
        ws_decision *decision = ws_deny(405);
        ws_header(decision, WS("Allow"), WS("GET, HEAD"));
        return decision;
    }
    if (closing && !ws_before(closes)) {
        ws_decision *decision = ws_respond(410);
        ws_html_body(decision, WS("<!doctype html><title>Closed</title>\n"));
        ws_sharing(decision, sharing());
        return decision;
    }
    ws_text user = ws_fact(WS("user"));
    if (!ws_is_none(user)) {
        return signed_in(user);
    }
    const ws_pair *member = member_by_token(ws_cookie(WS("member")), members.count);
    if (member != NULL) {
        return welcome(member->key);
    }
    ws_text authorization = ws_request_header(WS("authorization"));
    if (!ws_is_none(authorization)) {
        member = member_by_token(bearer(authorization), members.count);
        return member != NULL ? welcome(member->key) : challenge(WS(", error=\"invalid_token\""));
    }
    ws_text invite = ws_query_parameter(WS("invite"));
    if (member_by_token(invite, members.count) != NULL) {
        ws_decision *decision = ws_redirect(303, ws_encode(ws_path()));
        ws_header(decision, WS("Set-Cookie"), ws_concat(WS_TEXTS(WS("member="), invite, WS("; Path="), ws_encode(prefix),
                                                                 WS("; HttpOnly; SameSite=Lax"))));
        ws_header(decision, WS("Cache-Control"), WS("no-store"));
        return decision;
    }
    if (ws_client_within_any(office)) {
        ws_decision *decision = ws_proceed();
        ws_establish(decision, WS("member"), WS("office"));
        ws_sharing(decision, sharing());
        return decision;
    }
    return challenge(WS(""));
}
