"""What the seed's own tests hold it to, line by line, and which test here holds it.

The lines are those of the inventory of the seed's tests: 8.1 users and manager, 8.2 repository, 8.3
storms and breaker, 8.4 the life of a connection, 8.5 what is reached, 8.8 On-Behalf-Of, 8.9 schema
and environment, 8.10 registry and flows. A line that says several things is several here. Each is
held by tests of ``tests/seed``, or does not apply, with the reason. A gap of the seed is held
reversed, and the line says so.

``users::what_it_says`` is ``tests/seed/test_users.py::test_what_it_says``.
"""

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.once  # it reads the tests

SEED = Path(__file__).parent / "seed"
LINES_OF = {"8.1": 17, "8.2": 1, "8.3": 5, "8.4": 8, "8.5": 6, "8.8": 6, "8.9": 7, "8.10": 2}
TABLE = """
8.1.1 n concurrent callers: one factory call, the same object (3 to 1)
    users::three_concurrent_callers_are_one_factory_call_and_get_the_same_object
8.1.2 a failing creation: all joiners get the error, nothing is pending, the next call tries again
    users::a_failing_creation_fails_all_joiners_and_the_next_call_tries_again
8.1.3 force_new is not coalesced (here it is serialised, too: later than the seed)
    users::force_new_joins_nobody
    users::nobody_joins_force_new
8.1.3 force_new clears the cooldown; an ordinary call does not
    users::force_new_clears_the_cooldown_and_an_ordinary_call_does_not
8.1.4 a user without id is an invalid request
    users::a_user_without_id_is_an_invalid_request
8.1.4 an unknown server is not found
    users::an_unknown_server_is_not_found
8.1.4 an app-level server: "Trying to create user-specific connection..."
    users::an_app_level_server_has_no_connections_of_users
8.1.5 stale, for the configuration is newer: the old one disconnected, a new one created
    users::a_configuration_updated_after_the_connection_was_made_makes_a_new_one
8.1.5 an equal or older configuration: reused
    users::a_configuration_that_is_not_newer_leaves_the_connection
8.1.6 an idle user: all disconnected, then recreated
    users::a_user_who_was_idle_is_disconnected_from_everything_and_then_connected_anew
8.1.6 the sweep skips the current user
    users::the_sweep_skips_the_current_user
8.1.6 errors of disconnecting are only logged
    users::an_error_of_disconnecting_is_logged_and_the_others_are_disconnected
8.1.7 the activity entry goes when a user is disconnected, even with no connections
    users::no_activity_is_left_of_a_user_without_connections
    users::activity_goes_with_the_last_connection_of_a_user
8.1.8 an OAuth or OBO server without flow manager: 'requires a flow_manager'
    users::a_server_that_needs_oauth_machinery_requires_a_flow_manager
8.1.8 whether it is needed follows from requires_oauth_machinery: OBO with requires_oauth false
    users::a_server_that_needs_oauth_machinery_requires_a_flow_manager
    users::a_server_without_oauth_machinery_requires_no_flow_manager
8.1.8 with a flow manager, OAuth is wired to the connection
    signing_in::with_a_flow_manager_oauth_is_wired_to_the_connection
8.1.8 with a flow manager, OBO is wired to the connection
    obo::with_a_flow_manager_obo_is_wired_to_the_connection
8.1.9 an OBO server bypasses an app connection that is there
    users::a_server_that_became_obo_bypasses_the_connection_of_the_application
8.1.9 a plain server keeps using it (here: one that says scope: app; without it a user has his
  own)
    users::a_plain_server_of_the_application_is_used_by_all_users
8.1.10 OBO: Authorization is replaced for each call
    obo::authorization_is_replaced_for_each_call
8.1.10 OBO: a transient failure sets no header and sends no request
    obo::a_transient_failure_sets_no_header_and_sends_no_request
8.1.10 OBO: a permanent failure neither, and says something else
    obo::a_permanent_failure_neither_and_says_something_else
8.1.10 OBO: an untrusted author is refused
    obo::an_author_who_is_not_trusted_is_refused
8.1.11 the OAuth handler of a request is detached after the call
    signing_in::what_a_call_shows_the_user_with_is_forgotten_after_it
8.1.11 errors of a call are rethrown
    manager::the_error_of_a_call_reaches_the_caller_as_it_is
    manager::a_refused_sign_in_is_raised_to_its_caller_and_counts_for_nobody
8.1.11 an ephemeral connection is disconnected whatever came of the call
    manager::the_connection_of_a_request_is_disconnected_even_if_its_call_fails
8.1.12 discovery uses an app connection that is there
    manager::discovery_uses_the_connection_of_the_application
8.1.12 discovery without OAuth makes a connection and disposes of it
    manager::discovery_without_a_connection_makes_one_and_disposes_of_it
    manager::discovery_disposes_of_its_connection_when_listing_fails
8.1.12 discovery of an OAuth or OBO server without user or flow manager: OAuth required, no tools
    manager::discovery_of_an_oauth_server_without_user_or_flow_manager_says_so
8.1.12 discovery with OAuth, and return_on_oauth
    signing_in::discovery_with_oauth_returns_where_to_go
    signing_in::discovery_that_returns_waits_for_nobody
8.1.12 discovery: null for a missing configuration, and for missing fields of the request
    manager::discovery_of_an_unknown_server_is_null
    manager::discovery_of_a_request_scoped_server_without_its_fields_is_null
8.1.12 discovery: errors are null tools
    manager::an_error_of_discovery_is_no_tools
8.1.13 a run-time URL is resolved; a placeholder that stays is an error
    manager::a_url_is_resolved_for_the_user
    manager::a_url_with_a_placeholder_that_stays_is_an_error_and_nothing_is_sent
8.1.13 the domain policy is held against the resolved URL
    guard::the_domain_policy_is_held_against_the_resolved_url
8.1.13 what users configured is not substituted (here it is refused, and nothing is sent)
    manager::what_a_user_configured_is_not_substituted
8.1.14 body-scoped: missing fields are an error
    manager::missing_fields_of_the_request_are_an_error_before_any_connection
8.1.14 body-scoped: one connection a request, reused by its concurrent calls
    manager::concurrent_calls_of_one_request_reuse_its_connection
    manager::two_requests_share_no_connection
8.1.14 body-scoped: disposed of after the response
    manager::the_connection_of_a_request_is_disposed_of_after_it
8.1.14 body-scoped: not in the idle maps, and without effect on the breaker
    manager::the_connection_of_a_request_is_not_in_the_idle_maps
    manager::a_request_scoped_server_counts_no_cycles_and_clears_no_cooldown
8.1.15 the application's tools: a failing server is skipped
    manager::a_server_that_fails_is_skipped_among_the_tools_of_the_application
    manager::the_tools_of_a_server_never_make_a_connection_and_a_failure_is_null
8.1.15 the instructions: a failing server is skipped
    manager::a_server_that_fails_is_skipped_among_the_instructions
8.1.16 a connection lost between check and call is an error, "not active" (here: closed, not run)
    manager::a_connection_lost_between_check_and_call_is_a_truthful_error
8.1.17 lease: the idle sweep does not close a borrowed connection
    manager::the_idle_sweep_does_not_close_a_borrowed_connection
8.1.17 lease: disposal is deferred
    manager::disposal_is_deferred_until_the_last_borrower_is_done
8.1.17 recovery from a 401: once for all callers, one replay
    signing_in::recovery_from_a_401_is_once_for_all_callers_and_each_calls_once_more
8.1.17 recovery from a 401: an abort leaves the other waiters; takeover
    signing_in::an_abort_during_recovery_leaves_the_other_waiters
    signing_in::when_the_first_to_recover_fails_another_takes_over

8.2.1 get reuses what is connected
    repository::get_reuses_what_is_connected
8.2.1 get recreates what is stale or disconnected
    repository::get_recreates_what_is_stale
    repository::get_recreates_what_is_disconnected
8.2.1 get is null for what is not allowed: startup false, user-scoped, OBO, failed inspection
    repository::get_is_null_for_what_is_not_allowed
8.2.1 get disconnects what is left over
    repository::what_is_left_over_of_a_server_no_longer_allowed_is_disconnected
8.2.1 get_many makes at most three at a time
    repository::get_many_makes_three_at_a_time
8.2.1 get_many continues on error
    repository::get_many_continues_on_error_if_told_to
    repository::get_many_raises_the_error_otherwise
    repository::get_all_is_all_that_are_allowed
8.2.1 an error of disconnecting is logged
    repository::an_error_of_disconnecting_is_logged
    repository::disconnect_all_disconnects_all
8.2.1 has is false, and cleans up
    repository::has_is_false_and_cleans_up_for_a_server_that_was_removed
    repository::what_is_left_over_of_a_server_no_longer_allowed_is_disconnected
8.2.1 later: one after the other for a server; shutting down; changed during checkout (2.4)
    repository::what_is_done_to_one_server_is_done_one_after_the_other
    repository::while_shutting_down_there_are_no_connections_to_be_had
    repository::a_configuration_that_keeps_changing_during_checkout_is_an_error

8.3.1 it trips after MAX_CYCLES
    breaker::it_trips_after_max_cycles
    breaker::cycles_further_apart_than_the_window_do_not_trip_it
    breaker::disconnects_that_were_asked_for_are_no_cycles
8.3.1 its state is shared by the instances of one server name (here: and user)
    breaker::its_state_is_shared_by_the_connections_to_one_server
8.3.1 it cools down
    breaker::it_cools_down
8.3.1 clear_cooldown re-enables
    breaker::clear_cooldown_re_enables
    breaker::clear_cooldown_of_everybody_reaches_everybody
8.3.2 a dead server: exactly MAX_FAILED_ROUNDS real connects, then "Circuit breaker is open"
    breaker::a_dead_server_sees_exactly_max_failed_rounds_connects
    breaker::the_attempts_of_one_call_are_rounds_too
    breaker::a_storm_of_threads_is_no_storm_of_connects
    breaker::each_further_failure_opens_it_for_twice_as_long
    breaker::a_success_forgets_the_failed_rounds
    breaker::one_line_of_the_log_a_change_of_state
8.3.3 user B is blocked by the breaker of A: a gap, held reversed: he is not
    breaker::user_b_is_not_blocked_by_the_breaker_of_a
    breaker::another_configuration_of_the_server_is_not_blocked
8.3.4 connecting first disconnects, without a reset of what was counted
    breaker::connecting_anew_first_disconnects_what_there_was
8.3.4 400 or 405 to the GET stream of a session is an error
    listening::400_to_the_get_stream_of_a_session_is_an_error
    listening::405_to_the_get_stream_of_a_session_is_an_error
8.3.4 a sign-in that succeeds takes a cycle back, one that fails does not (here: all of them)
    signing_in::a_sign_in_that_succeeds_takes_the_cycles_back_and_one_that_fails_does_not
8.3.4 three sign-ins and more before it trips
    signing_in::three_sign_ins_and_more_do_not_trip_it
8.3.5 the tracker's cool-down of 5, 10, 20, 30 minutes, and its reset
    signing_in::reconnections_that_fail_are_left_alone_for_5_10_20_and_30_minutes

8.4.1 agents: reused across requests (here: the process's sockets, by all users)
    lifecycle::a_socket_is_reused_across_requests_and_users
8.4.1 agents: closed once on disconnect, and before a reconnection swaps them
    does not apply: no connection owns a socket: they are the process's, and others' requests go
      over them; what the line is about, that sockets do not grow with reconnections, is held
    see lifecycle::connecting_again_and_again_opens_no_more_sockets
8.4.1 separate timeouts of POST and GET, custom sse_read_timeout
    does not apply: one deadline bounds a call, POST and answer; a stream on which nothing comes
      is no reason to cut it, and who is idle is the sweeper's to say
    see lifecycle::a_stream_on_which_nothing_comes_is_not_cut
    see lifecycle::the_sweeper_ends_an_idle_stream_and_its_thread
    see listening::a_stream_that_is_listened_to_has_no_read_timeout
8.4.2 GET stream: 404 without a session ignored, with one: reconnection
    listening::404_without_a_session_is_a_server_that_tells_nothing
    listening::404_with_a_session_begins_a_new_one
8.4.2 GET stream: 409 is one rebuild
    listening::409_begins_one_new_session_and_no_more
8.4.2 GET stream: "Maximum reconnection attempts" is real
    listening::the_maximum_of_attempts_at_a_stream_is_real
8.4.3 session DELETE on disconnect
    lifecycle::disconnecting_deletes_the_session
8.4.3 session DELETE before the swap
    lifecycle::the_session_is_deleted_before_the_swap
8.4.3 405 and 500 to it are tolerated, and cause no reconnection
    lifecycle::a_refused_goodbye_is_tolerated_and_causes_no_reconnection
    lifecycle::a_goodbye_that_is_cut_is_tolerated
    lifecycle::a_goodbye_that_meets_a_socket_closed_meanwhile_is_said_again
8.4.3 none where there is no session
    lifecycle::without_a_session_there_is_no_goodbye
8.4.3 none for HTTP+SSE
    lifecycle::over_http_sse_there_is_no_goodbye
8.4.3 in bounded time
    lifecycle::a_goodbye_is_bounded_in_time
8.4.4 dispose during connect leaves nothing live
    lifecycle::disposal_while_connecting_leaves_nothing_live
    lifecycle::a_connection_that_was_made_when_its_disposal_came_does_not_appear
    lifecycle::a_disposed_connection_never_connects_again
8.4.4 a probe that is aborted leaves the state
    lifecycle::a_probe_that_its_caller_cancels_leaves_the_state
    lifecycle::a_probe_that_its_callers_time_ends_leaves_the_state
8.4.4 ping unsupported is handled: the server is alive
    lifecycle::a_server_that_does_not_know_ping_is_alive
8.4.4 later: trust for a minute, a failed probe is a failed probe (2.6, a gap reversed)
    lifecycle::a_server_is_trusted_for_a_minute_after_it_answered
    lifecycle::a_failed_probe_is_not_forgotten
    lifecycle::a_modern_server_is_never_probed
8.4.5 429 stops reconnection (here: for as long as the server asks, not for ever)
    lifecycle::a_429_stops_connecting_until_the_server_will_have_us
    lifecycle::a_429_to_a_call_is_not_repeated_and_ends_no_connection
8.4.5 errors are classified: the transient ones
    lifecycle::connecting_is_tried_again_after_a_transient_error
    lifecycle::a_refused_connection_is_tried_again
    lifecycle::a_server_that_says_nothing_is_a_timeout_of_connecting
8.4.5 errors are classified: the permanent ones
    lifecycle::connecting_is_not_tried_again_after_a_permanent_error
    lifecycle::an_error_of_signing_in_stops_connecting
    lifecycle::no_log_line_has_a_payload_or_a_secret
8.4.5 a refused connection and an unknown host are permanent
    does not apply: in the seed that chooses the words of a log line, and it connects again all
      the same; so it is here
    see lifecycle::a_refused_connection_is_tried_again
    see lifecycle::a_name_that_nobody_knows_is_an_error_of_connecting
8.4.6 tools/list: budgets of pages, tools, bytes and time
    catalogues::the_pages_of_a_listing_are_limited
    catalogues::the_tools_of_a_listing_are_limited
    catalogues::the_bytes_of_a_listing_are_limited
    catalogues::the_time_of_a_listing_is_limited
8.4.6 tools/list: a repeated cursor stops it
    catalogues::a_cursor_that_comes_again_stops_a_listing
8.4.6 tools/list: partial on error, reversed since: an error, and nothing is published
    catalogues::what_was_listed_before_an_error_is_not_taken_for_all
8.4.6 tools/list: what is incomplete is not published
    catalogues::an_incomplete_list_is_not_published_over_a_good_one
    catalogues::callers_who_ask_while_it_is_listed_get_whole_lists
8.4.7 list_changed: told after the notification
    catalogues::subscribers_hear_of_new_tools_after_the_notification
    catalogues::without_a_notification_nothing_is_listed_again
    catalogues::a_list_that_is_the_same_is_told_to_nobody
    catalogues::a_subscriber_that_is_undone_hears_no_more
8.4.7 list_changed: heard while no call waits, too (here: of the application's servers, if
  somebody wants to be told; a user's connection hears of it with its next call)
    listening::new_tools_are_heard_of_while_no_call_waits
    listening::new_tools_are_heard_of_after_the_stream_was_cut
    listening::nobody_listens_if_nobody_subscribed
    listening::users_connections_have_no_thread
    listening::a_server_that_tells_nothing_is_asked_once_and_called_all_the_same
    listening::a_listener_goes_with_its_connection
    listening::closing_the_manager_does_not_wait_for_a_server_that_says_nothing
    listening::a_burst_on_the_stream_is_one_listing_or_two
    listening::a_listener_does_not_keep_a_manager_that_nobody_has
    listening::a_fault_of_the_stream_is_no_fault_of_the_calls
8.4.7 list_changed: a burst is coalesced
    catalogues::a_burst_of_notifications_is_one_listing_and_one_more
8.4.7 list_changed: tried again with back-off
    catalogues::a_listing_that_fails_is_tried_again_later_and_later
    catalogues::the_back_off_is_a_quarter_second_and_doubles_up_to_thirty
8.4.7 list_changed: the last good list is kept
    catalogues::the_last_good_tools_are_kept_while_listing_fails
8.4.7 list_changed: listed anew after a reconnection
    catalogues::the_tools_are_listed_anew_after_the_connection_was_made_anew
    catalogues::the_tools_are_listed_anew_after_the_session_was_begun_anew
8.4.7 list_changed: a stale snapshot is ignored
    catalogues::a_listing_of_a_connection_that_was_closed_meanwhile_is_ignored
8.4.7 list_changed: empty when the capability vanished
    catalogues::a_server_whose_tools_capability_vanished_has_no_tools
8.4.7 list_changed: not after dispose
    catalogues::nothing_is_told_after_disposal
    catalogues::a_retry_that_waits_ends_with_the_disposal
8.4.8 elicitation: the latest handler wins
    does not apply: a client or a manager is given its callbacks when it is made and keeps them; who
      asks, and for whom, the callback is told with each call
8.4.8 elicitation: disposers are idempotent, and it is removed when empty
    does not apply: there is nothing to dispose of, since nothing is registered later
8.4.8 elicitation: -32042 in an error and in an HTTP body
    elicitation::a_page_to_visit_is_found_in_an_error_and_in_an_http_body
8.4.8 elicitation: a URL that is not http is dropped
    elicitation::a_page_whose_url_is_not_http_is_dropped

8.5.1 redirects: no 301 and 302 (nor 303)
    guard::redirects_that_change_the_method_are_not_followed
8.5.1 redirects: 307 and 308 with method and body
    guard::redirects_that_keep_the_method_are_followed_with_the_body
8.5.1 redirects: more than five stop
    guard::more_than_five_redirects_are_too_many_wherever_they_lead
8.5.1 redirects: a private target is blocked even with an allowlist
    guard::a_redirect_inside_is_not_followed_even_with_allowlists
    guard::a_redirect_leads_to_no_host_that_is_not_listed
    guard::whom_a_server_names_has_to_be_listed
8.5.1 redirects: to another origin without credentials, cookies, session and headers of ours, with
  accept and content-type
    guard::a_redirect_to_another_origin_takes_nothing_of_ours_along
    guard::another_origin_is_shown_no_certificate_of_ours_and_has_to_have_a_good_one
    guard::who_was_redirected_away_gets_nothing_back_on_his_return
    guard::the_cookies_and_challenges_of_another_origin_are_its_own
8.5.1 redirects: no crash without headers
    guard::a_redirect_goes_without_headers_where_there_are_none
8.5.1 redirects: within the origin everything is kept
    guard::a_redirect_within_the_origin_keeps_everything
8.5.2 inputs as text, URL and Request
    does not apply: nothing is handed a function that fetches; every request begins as a URL
8.5.2 what is called off ends, wherever it was redirected to
    guard::what_another_origin_takes_too_long_for_can_be_called_off
    guard::closing_ends_what_was_redirected
8.5.3 proxies: the configuration's own
    guard::the_proxy_of_a_configuration_comes_before_that_of_the_environment
8.5.3 proxies: PROXY
    does not apply: it is a variable of the seed's program alone; here the usual ones count, as for
      everything else that requests is used for
    see guard::proxies_come_from_the_environment_and_an_empty_lower_case_is_none
8.5.3 proxies: the usual variables; an empty one in lower case disables
    guard::proxies_come_from_the_environment_and_an_empty_lower_case_is_none
8.5.3 proxies: NO_PROXY with hosts, suffixes, *, CIDR and ports
    guard::who_is_in_no_proxy_is_asked_directly
8.5.3 proxies: NO_PROXY with ranges and bare IPv6 addresses
    does not apply: it is read as requests reads it, so that it means the same in a whole program
8.5.3 proxies: chosen anew for each URL
    guard::the_proxy_is_chosen_anew_for_where_a_redirect_leads
    guard::a_redirect_does_not_lead_past_the_proxy_of_a_configuration
8.5.3 proxies: a literal is checked, a name refused unless it is allowed
    guard::through_a_proxy_it_has_to_be_a_literal_or_an_allowed_host
8.5.4 the limits of an answer: bytes of JSON
    limits::an_answer_in_json_has_so_many_bytes_and_no_more
8.5.4 the limits of an answer: length of a line; a call fails soon
    limits::a_line_of_a_stream_that_does_not_end_fails_the_call_and_not_its_time
8.5.4 the limits of an answer: two mebibytes in a line are taken by default
    limits::two_mebibytes_in_a_line_are_taken_by_default
8.5.4 the limits of an answer: not for the stream of HTTP+SSE (here: its messages have them)
    limits::over_http_sse_one_stream_for_all_answers_has_no_end_and_so_no_limit_of_its_own
8.5.4 the limits of an answer: streams are not delayed
    limits::what_a_stream_brings_is_heard_before_it_ends
8.5.5 WebSocket: blocked if its name leads inside, even with protection off (here: whatever domains
  are listed)
    guard::a_websocket_whose_name_leads_inside_is_not_opened_whatever_is_listed
8.5.5 WebSocket: public is allowed
    guard::a_websocket_that_is_public_is_opened
8.5.6 addresses: all ranges
    guard::every_range_is_known_at_both_its_ends
8.5.6 domains: wildcard, port and scheme
    guard::domains_are_matched_by_host_wildcard_scheme_and_port
    guard::what_is_no_entry_for_domains_is_refused
    guard::a_list_is_a_list
8.5.6 allowed addresses: no scheme or path, nothing public
    guard::an_allowed_address_has_no_scheme_or_path_and_is_not_public
    guard::an_allowed_address_is_matched_by_host_or_address_and_port
    guard::whom_a_server_names_may_be_inside_where_that_is_allowed

8.8.1 the service: each precondition
    obo::each_precondition_has_its_message
8.8.1 the service: cache hit, miss, and time to live (here half a minute less)
    obo::a_token_is_had_once_until_its_time_is_over
8.8.1 the service: from_cache false
    obo::from_cache_false_asks_again
8.8.1 the service: the body of the grant
    obo::the_grant_is_jwt_bearer_on_behalf_of
8.8.1 the service: once more for 429, 5xx and network; if that fails, a retryable error
    obo::what_is_transient_is_tried_once_more
    obo::no_network_is_transient_too
8.8.1 the service: not for 400
    obo::what_is_refused_is_not_tried_again
8.8.1 the service: one key is coalesced, and cleaned up after success and failure
    obo::callers_of_one_key_share_an_exchange_and_it_is_gone_afterwards
8.8.1 the service: keys are apart
    obo::callers_of_other_keys_do_not
8.8.1 the service: the bypass neither joins nor is joined
    obo::from_cache_false_neither_joins_nor_is_joined
8.8.2 the resolver: each reason
    obo::each_reason
8.8.2 the resolver: what is retryable, and that an explicit tag wins
    obo::status_code_and_text_are_looked_at_in_this_order_and_a_tag_before_all
8.8.2 the resolver: the default of expires_at
    obo::a_token_without_a_time_is_good_for_an_hour
8.8.3 trust: YAML and configuration yes
    obo::what_the_operator_configured_is_trusted
    registry::a_server_of_yaml_or_config_is_trusted_with_obo
8.8.3 trust: from the database, with the author's permission
    registry::a_users_server_is_trusted_with_obo_while_its_author_has_the_permission
8.8.3 trust: a missing author, role or permission, or an error, is no
    registry::a_users_server_is_not_trusted_if_anything_is_missing
8.8.4 controller: create and update without the permission are refused
    registry::creating_or_updating_with_obo_is_refused_without_the_permission
    registry::existing_roles_get_the_permission_by_default_and_keep_what_was_set
8.8.4 controller: the fields of the allowlist pass
    registry::of_a_server_with_obo_title_and_description_may_change
8.8.4 controller: any other field is refused
    registry::of_a_server_with_obo_no_other_field_may_change
8.8.4 controller: other fields that do not change pass
    registry::of_a_server_with_obo_fields_that_do_not_change_pass
8.8.4 controller: who has the permission passes
    registry::who_has_the_permission_changes_everything
8.8.5 schema: taken on sse and http
    obo::obo_is_taken_where_headers_can_be_sent
8.8.5 schema: refused on stdio and websocket
    obo::obo_is_refused_where_they_cannot
    configuration::obo_is_accepted_over_http_and_rejected_elsewhere
8.8.5 schema: empty scopes are refused
    obo::empty_scopes_are_refused
    configuration::obo_has_scopes
8.8.5 schema: the one for users' input takes it
    configuration::a_user_may_send_obo
8.8.6 inspector: no temporary connection for OBO
    registry::no_connection_is_made_to_look_at_a_server_with_obo
8.8.6 redaction keeps obo
    registry::what_is_on_behalf_of_users_is_shown

8.9.1 names are normalised; keys split at the last delimiter; shadowed names; OAuth tool name
    configuration::names_are_normalised
    configuration::a_key_is_split_at_its_last_delimiter
    configuration::names_that_come_to_the_same_are_shadowed
    configuration::the_name_of_the_oauth_tool_is_not_wrapped_twice
8.9.2 redaction: every secret is removed, and the original is not mutated
    registry::every_secret_is_removed_and_the_original_stays
8.9.2 redaction: a field that nobody knows is dropped
    registry::a_field_that_nobody_knows_is_dropped
8.9.2 redaction: what who can edit sees
    registry::urls_are_for_who_can_edit
8.9.2 redaction: a mapping of servers
    registry::all_servers_are_redacted_each_for_who_can_edit_it
8.9.3 which errors mean that the client is not known (here: the error's code, not its words)
    signing_in::who_is_not_known_any_more_registers_again
8.9.4 predicates: each row of the table in section 6
    configuration::each_predicate_is_true_when_the_seed_says_so
    configuration::an_effective_configuration_has_to_parse_again
8.9.4 predicates: what a user configured is excluded
    configuration::no_placeholder_of_what_a_user_configured_counts
8.9.4 predicates: GRAPH and OPENID are not ephemeral
    configuration::only_fields_of_the_body_make_a_connection_ephemeral
8.9.5 missing fields of the body: messageId, parentMessageId, conversationId; blank is missing
    configuration::missing_fields_of_the_body_are_named_in_order
8.9.6 process_mcp_env: what was given is not mutated
    configuration::what_was_given_is_not_mutated
8.9.6 process_mcp_env: order: environment, custom variables, user
    configuration::the_environment_comes_first_and_then_what_is_the_users
    configuration::what_a_user_typed_is_not_expanded
8.9.6 process_mcp_env: restrictions of what comes from the database
    configuration::of_what_a_user_configured_only_his_variables_are_resolved
8.9.6 process_mcp_env: fields of the user; missing is empty: reversed, an error
    configuration::a_placeholder_stands_for_a_field_of_the_user
    configuration::what_has_no_value_is_an_error
8.9.6 process_mcp_env: unknown placeholders stay: a gap, reversed: an error, nothing is sent
    configuration::an_unknown_placeholder_is_an_error
8.9.6 process_mcp_env: an unset variable stays literal: reversed, an error; some never expand
    configuration::an_unset_variable_is_an_error
    configuration::the_secrets_of_the_application_are_never_expanded
8.9.6 process_mcp_env: headers beyond Latin-1 as base64
    configuration::a_name_beyond_latin_1_is_sent_as_base64
8.9.6 process_mcp_env: headers of an API key
    configuration::an_api_key_is_a_header
8.9.6 process_mcp_env: OpenID tokens, and their expiry
    configuration::openid_placeholders_are_the_users_tokens
    configuration::an_expired_token_has_the_user_sign_in_again
8.9.7 schema: no environment in what a user sends
    configuration::a_user_cannot_have_the_environment_told
8.9.7 schema: an allowlist of protocols
    configuration::a_url_has_a_protocol_of_its_transport
8.9.7 schema: client_secret needs where it is sent (here: or the issuer)
    configuration::a_client_secret_needs_where_it_is_sent
8.9.7 schema: a proxy is http or https
    configuration::a_proxy_is_http_or_https
8.9.7 schema: a title has letters, numbers and spaces (here: of any language)
    configuration::a_title_has_letters_numbers_and_spaces
8.9.7 schema: the type is inferred, http is an alias (here: an http URL without a type is looked
  at, SSE or not)
    configuration::the_type_follows_from_what_is_there

8.10.1 precedence
    registry::yaml_beats_the_database_and_an_override_overlays_yaml_only
    registry::an_override_that_fails_never_replaces_a_healthy_base
8.10.1 the cache's time; a write clears it
    registry::what_was_read_is_good_for_five_seconds_and_a_write_clears_it
8.10.1 callers who ask for all meanwhile share one reading
    registry::concurrent_readers_of_all_share_one_reading
8.10.1 a failed stub is retried
    registry::a_failed_server_is_shown_and_retried
    registry::an_override_that_failed_is_tried_again_after_five_minutes
8.10.1 add_server inspects
    registry::a_users_server_is_looked_at_before_it_is_added
    registry::a_domain_that_is_not_allowed_is_said_as_it_is_and_nothing_is_sent
8.10.1 update_server keeps secrets
    registry::an_update_keeps_secrets_that_are_not_mentioned_unless_the_target_changes
8.10.1 the hash of a configuration includes the allowlists
    registry::what_passed_under_one_allowlist_is_looked_at_again_under_another
8.10.1 leader and followers
    does not apply: what was found of the servers is kept by each process for itself, which looks
      when it starts; no process waits for another, so none has to lead
    see registry::the_time_for_each_server_is_limited_and_a_slow_one_blocks_no_start
8.10.1 the time for each server
    registry::the_time_for_each_server_is_limited_and_a_slow_one_blocks_no_start
8.10.2 flow manager: create, join
    flows::a_flow_is_created_once_and_joined_by_whoever_comes_later
8.10.2 flow manager: complete, fail
    flows::a_flow_that_is_completed_is_told_to_who_waits_in_another_process
    flows::a_flow_that_failed_is_an_error_of_who_waits
8.10.2 flow manager: idempotence, lock
    flows::a_flow_that_is_completed_twice_is_redeemed_once
8.10.2 flow manager: stale, expired
    flows::a_flow_that_is_stale_is_begun_anew_and_its_state_leads_nowhere
8.10.2 flow manager: abort, time-outs
    flows::who_aborts_waiting_leaves_the_flow_to_the_others
8.10.2 flow manager: what is kept for a token that has expired is run again
    does not apply: a flow is a sign-in and nothing else here; a token that has expired is
      refreshed under the lock of its store, which is held by the tests of tokens
    see flows::a_flow_that_is_stale_is_begun_anew_and_its_state_leads_nowhere
"""


@dataclass
class Line:
    """One thing that a line of the inventory says, by section and number of the line."""

    at: str
    says: str
    held_by: list[str] = field(default_factory=list)
    does_not_apply: str = ""
    see: list[str] = field(default_factory=list)

    @property
    def verdicts(self) -> int:
        """How many of the two it has: it has to be one."""
        return sum(map(bool, (self.held_by, self.does_not_apply)))


def lines_of(table: str) -> Iterator[Line]:
    """Read a table: a line begins with its number, and what is indented under it is its verdict."""
    for block in re.split(r"^(?=\d)", table, flags=re.M)[1:]:
        said, *verdict = re.split(r"\n    (?! )", block.rstrip())
        at, _, says = " ".join(said.split()).partition(" ")
        line = Line(at, says)
        for each in (" ".join(part.split()) for part in verdict):
            if each.startswith("does not apply: "):
                line.does_not_apply = each.removeprefix("does not apply: ")
            elif each.startswith("see "):
                line.see.append(each.removeprefix("see "))
            else:
                line.held_by.append(each)
        yield line


@functools.cache
def there_are() -> set[str]:
    """The tests of ``tests/seed``."""
    found = set()
    for path in SEED.glob("test_*.py"):
        unit = path.stem.removeprefix("test_")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(f"{unit}::{node.name.removeprefix('test_')}")
    return found


def check(line: Line) -> None:
    """Fail if a line has no verdict, or two, or names a test that does not exist."""
    assert line.verdicts == 1, line
    assert set(line.held_by) | set(line.see) <= there_are()


LINES = list(lines_of(TABLE))


def test_every_line_of_the_inventory_is_here() -> None:
    expected = {
        f"{section}.{number}" for section, n in LINES_OF.items() for number in range(1, n + 1)
    }
    assert {line.at for line in LINES} == expected


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.at} {line.says[:60]}")
def test_a_line_is_held_or_does_not_apply(line: Line) -> None:
    check(line)


def test_every_test_of_the_seeds_holds_a_line() -> None:
    named = {test for line in LINES for test in (*line.held_by, *line.see)}
    assert there_are() - named == set()


@pytest.mark.parametrize(
    "table",
    [
        "8.1.1 says something",
        "8.1.1 says something\n    users::no_such_test",
        "8.1.1 says something\n    waits for better times",
        "8.1.1 says something\n    users::force_new_joins_nobody\n    does not apply: why",
        "8.1.1 says something\n    does not apply: why\n    see users::no_such_test",
    ],
)
def test_a_line_that_is_not_honest_is_noticed(table: str) -> None:
    (line,) = lines_of(table)
    with pytest.raises(AssertionError):
        check(line)
