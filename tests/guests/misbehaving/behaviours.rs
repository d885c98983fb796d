// Everything that the misbehaving guest can do, shared by the guest and its tests: a behaviour without a test, or a test
// without its behaviour, does not compile.

/// Hands the names of what `decide` can do to a macro.
macro_rules! decide_behaviours {
    ($macro:ident) => {
        $macro! {
            trap,
            endless_loop,
            memory_growth,
            stack_overflow,
            error,
            error_naming_secrets,
            status_too_low,
            status_too_high,
            partial_content_status,
            not_modified_status,
            range_status,
            header_name_malformed,
            header_line_break,
            header_line_break_in_change,
            header_nul,
            connection_header,
            content_length_header,
            transfer_encoding_header,
            date_header,
            proxy_header,
            etag_on_proceed,
            content_encoding_on_proceed,
            vary_set,
            vary_removed,
            path_leaving,
            path_relative,
            path_with_dot,
            path_with_empty_segment,
            path_with_nul,
            path_with_backslash,
            missing_path_leaving,
            missing_status_odd,
            unknown_root,
            directory_leaving,
            body_oversized,
            body_with_no_content,
            fact_not_established,
            fact_not_read,
            network_invalid,
            answers_oversized,
            host_calls,
            body_huge,
            sharing_not_granted,
            pace_zero,
        }
    };
}

/// Hands the names of what `configure` can do to a macro.
macro_rules! configure_behaviours {
    ($macro:ident) => {
        $macro! {
            configure_traps,
            configure_loops,
            configure_fails,
            configure_asks_about_a_request,
            configure_grows,
        }
    };
}
