/* What outlives a decision. */
#include "contract.h"
#include "decision.h"
#include "wasmserve.h"

ws_text ws_take(ws_text key, uint64_t capacity, double refill_per_second, ws_taken *taken)
{
    contract_string_t lowered = lower(key), error;
    wasmserve_policy_counters_taken_t answer;
    if (!wasmserve_policy_counters_take(&lowered, capacity, refill_per_second, &answer, &error)) {
        return lift(error);
    }
    *taken = (ws_taken){answer.granted, answer.remaining, answer.retry_after, answer.full_after};
    return WS_OK;
}

void ws_log(ws_level level, ws_text message)
{
    contract_string_t context = lower(WS("")), lowered = lower(message);
    wasi_logging_logging_log((wasi_logging_logging_level_t)level, &context, &lowered);
}

static ws_text reason(const wasi_keyvalue_store_error_t *error)
{
    switch (error->tag) {
    case WASI_KEYVALUE_STORE_ERROR_NO_SUCH_STORE:
        return WS("there is no such bucket: the operator names those that are shared");
    case WASI_KEYVALUE_STORE_ERROR_ACCESS_DENIED: return WS("the bucket is not granted");
    default: return lift(error->val.other);
    }
}

static wasi_keyvalue_store_borrow_bucket_t borrowed(ws_bucket bucket)
{
    return wasi_keyvalue_store_borrow_bucket((wasi_keyvalue_store_own_bucket_t){bucket.handle});
}

ws_text ws_bucket_open(ws_text name, ws_bucket *bucket)
{
    contract_string_t lowered = lower(name);
    wasi_keyvalue_store_own_bucket_t opened;
    wasi_keyvalue_store_error_t error;
    if (!wasi_keyvalue_store_open(&lowered, &opened, &error)) {
        return reason(&error);
    }
    bucket->handle = opened.__handle;
    return WS_OK;
}

void ws_bucket_close(ws_bucket bucket)
{
    wasi_keyvalue_store_bucket_drop_own((wasi_keyvalue_store_own_bucket_t){bucket.handle});
}

ws_text ws_bucket_get(ws_bucket bucket, ws_text key, ws_text *value)
{
    contract_string_t lowered = lower(key);
    contract_option_list_u8_t answer;
    wasi_keyvalue_store_error_t error;
    if (!wasi_keyvalue_store_method_bucket_get(borrowed(bucket), &lowered, &answer, &error)) {
        return reason(&error);
    }
    contract_string_t found = {answer.val.ptr, answer.val.len};
    *value = answer.is_some ? lift(found) : (ws_text){0};
    return WS_OK;
}

ws_text ws_bucket_set(ws_bucket bucket, ws_text key, ws_text value)
{
    contract_string_t lowered = lower(key);
    contract_list_u8_t bytes = {(uint8_t *)value.data, value.size};
    wasi_keyvalue_store_error_t error;
    bool done = wasi_keyvalue_store_method_bucket_set(borrowed(bucket), &lowered, &bytes, &error);
    return done ? WS_OK : reason(&error);
}

ws_text ws_bucket_delete(ws_bucket bucket, ws_text key)
{
    contract_string_t lowered = lower(key);
    wasi_keyvalue_store_error_t error;
    bool done = wasi_keyvalue_store_method_bucket_delete(borrowed(bucket), &lowered, &error);
    return done ? WS_OK : reason(&error);
}

ws_text ws_bucket_increment(ws_bucket bucket, ws_text key, uint64_t delta, uint64_t *sum)
{
    contract_string_t lowered = lower(key);
    wasi_keyvalue_store_error_t error;
    bool done = wasi_keyvalue_atomics_increment(borrowed(bucket), &lowered, delta, sum, &error);
    return done ? WS_OK : reason(&error);
}
