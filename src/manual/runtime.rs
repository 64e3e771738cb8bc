//! Every claim of the runtime with the test that proves it.
//!
//! The numbers are those of network.md: A is what getty has, feature by feature, and its pits; B is what a reactor has
//! to get right. A name in the column *proof* is a test of this repository: `cargo test NAME` runs it, in the folder of its package for those of `benches/echo`. `tests/claims.rs`
//! checks that no number is missing and that every test named here exists.
//!
//! # A.1 Endpoints
//!
//! | no. | getty | here | proof |
//! |---|---|---|---|
//! | A.1-1 | `NewTCPServer`, `NewWSServer`, `NewWSSServer`, `NewUDPEndPoint` | `Reactor::listen` with an `Endpoint`; nothing panics, an address that cannot be had is an error | `echo_survives_any_split`, `frames_come_back_in_order_and_both_ends_close_properly`, `a_bound_socket_answers_every_sender`, `echoes_over_a_file_which_is_gone_after_the_end` |
//! | A.1-2 | `NewTCPClient`, `NewUDPClient`, `NewWSClient`, `NewWSSClient` | `Reactor::connect` with an `Endpoint`; the number of connections has a default | `keeps_the_number_of_connections_alive_over_a_restart`, `frames_come_back_in_order_and_both_ends_close_properly`, `both_ends_are_ours_and_any_size_goes_through`, `sessions_on_both_ends_are_ours_and_reconnect_over_a_restart` |
//! | A.1-3 | endpoint types | `Endpoint`, written and read as `tcp://`, `tls://`, `ws://`, `wss://`, `udp://`, `unix://` | `endpoints_parse_and_print` |
//! | A.1-4 | `EndPoint.ID()` | `ListenerId`, `ConnectorId`, `SessionId`: 64 bits, never given twice | `ids_of_listeners_connectors_and_sessions_are_never_given_twice` |
//! | A.1-5 | `EndPointType`, `IsClosed`, `GetTaskPool` | `Peer::origin` says which listener or connector; `Handle::is_alive`; pools belong to the reactor, `Config::workers` | `a_lane_that_panics_ends_the_reactor_with_an_error` |
//! | A.1-6 | `RunEventLoop` | `Reactor::run` or `poll_once`; `connect` never blocks | `every_idle_strategy_serves`, `keeps_the_number_of_connections_alive_over_a_restart` |
//! | A.1-7 | `EndPoint.Close` | `Reactor::drain`: listeners, sessions and workers, in order; `Handle::disconnect` for a connector | `drain_answers_what_was_read_then_closes_in_order`, `a_connector_ended_amid_its_work_leaves_nothing_behind` |
//! | A.1-8 | `Listener()`, `PacketConn()` | `Reactor::local_addr`, `Session::with_socket` | `options_reach_accepted_sockets` |
//! | A.1-9 | `NewSessionCallback` | `Codec::open` and `Handler::on_open`, which may refuse | `a_refused_session_gets_its_goodbye_and_one_close` |
//! | A.1-10 | an address without a port: any free one; one path per WebSocket server | port 0 and `Reactor::local_addr`; `WsServer` | `echo_survives_any_split`, `refused_requests_get_a_status_and_a_reason`, `origins_are_judged_as_listed` |
//!
//! # A.2 Options
//!
//! | no. | getty | here | proof |
//! |---|---|---|---|
//! | A.2-1 | `WithLocalAddress` | the endpoint of `listen` | `echo_survives_any_split` |
//! | A.2-2 | `WithWebsocketServerPath` | `WsServer` | `a_target_may_have_a_query_and_a_host`, `refused_requests_get_a_status_and_a_reason` |
//! | A.2-3 | `WithWebsocketServerCert`, `...PrivateKey`, `...RootCert` | `ServerTls` | `files_are_read_and_complaints_name_them`, `a_client_that_is_not_trusted_is_refused_and_told_why` |
//! | A.2-4 | `WithServerSslEnabled`, `WithServerTlsConfigBuilder` | `ListenOptions::tls` | `frames_come_back_in_order_and_both_ends_close_properly`, `a_reload_takes_new_files_and_keeps_the_old_when_they_are_bad` |
//! | A.2-5 | `WithServerTaskPool` | `Route` and `Workers`: bounded and ordered | `what_waited_arrives_as_one_batch_and_replies_leave_together` |
//! | A.2-6 | `WithServerAddress` | the endpoint of `connect`, an address or a name | `names_are_resolved_off_the_reactor_and_bad_ones_back_off` |
//! | A.2-7 | `WithConnectionNumber` | `ConnectOptions::connections` | `keeps_the_number_of_connections_alive_over_a_restart` |
//! | A.2-8 | `WithReconnectInterval` | `Backoff::base` | `exponential_steps_double_to_the_cap_with_full_jitter`, `linear_grows_to_ten_times_the_base` |
//! | A.2-9 | `WithReconnectAttempts` | `Backoff::attempts` | `a_refused_port_is_tried_again_until_the_attempts_are_used_up` |
//! | A.2-10 | `WithRootCertificateFile` | `ClientTls` | `a_server_that_is_not_trusted_is_refused_and_told_why`, `files_are_read_and_complaints_name_them` |
//! | A.2-11 | `WithClientSslEnabled`, `WithClientTlsConfigBuilder`, `TlsConfigBuilder` | `ConnectOptions::tls`, verified unless said otherwise | `frames_come_back_in_order_and_both_ends_close_properly`, `ready_made_configurations_work_without_early_data`, `a_server_that_is_not_trusted_is_refused_and_told_why` |
//! | A.2-12 | `WithClientTaskPool` | `Route` and `Workers`, the same for both sides | `handlers_that_wait_for_replies_do_not_wait_for_themselves` |
//!
//! # A.3 Session
//!
//! | no. | getty | here | proof |
//! |---|---|---|---|
//! | A.3-1 | `ID` | `Session::id`: slot and generation | `ids_of_listeners_connectors_and_sessions_are_never_given_twice`, `keys_go_stale` |
//! | A.3-2 | `LocalAddr`, `RemoteAddr` | `Session::peer`, valid after the close too | `no_callback_comes_after_the_close_and_handles_stay_harmless` |
//! | A.3-3 | `Conn` | options, and `Session::with_socket` for what they do not know | `options_reach_accepted_sockets` |
//! | A.3-4 | `Stat` | `Session::stats`, 64 bits, and `Display` | `statistics_count_both_ways_and_survive_the_close` |
//! | A.3-5 | `IsClosed`, `Close` | `Session::is_open`, `close`, `abort`: from any thread, any number of times | `no_callback_comes_after_the_close_and_handles_stay_harmless`, `abort_resets` |
//! | A.3-6 | `Reset` | none: a session is not used twice, its slot gets a new generation | `keys_go_stale` |
//! | A.3-7 | `EndPoint` | `Peer::origin` | `statistics_count_both_ways_and_survive_the_close` |
//! | A.3-8 | `SetName` | `name` in the options, shown by `Display` | `statistics_count_both_ways_and_survive_the_close` |
//! | A.3-9 | `SetMaxMsgLen` | `SessionConfig::max_frame`, refused at the head | `malformed_and_oversized_frames_end_their_session_only` |
//! | A.3-10 | `SetEventListener`, `SetPkgHandler`, `SetReader`, `SetWriter` | `Handler` and `Codec`: types, so none can be forgotten | `echo_survives_any_split` |
//! | A.3-11 | `SetCronPeriod` | `SessionConfig::tick`, `Session::set_tick` | `ticks_of_many_sessions_are_spread_over_the_period`, `a_tick_changes_its_period_and_stops` |
//! | A.3-12 | `SetWaitTime` | `SessionConfig::drain_timeout` | `a_peer_that_does_not_finish_is_cut_off_after_the_drain_timeout` |
//! | A.3-13 | `SetReadTimeout`, `SetWriteTimeout` | `idle_timeout`, `write_stall` | `a_silent_peer_is_closed_and_a_talking_one_is_not`, `a_peer_that_takes_no_bytes_is_closed_and_one_that_takes_some_is_not` |
//! | A.3-14 | `GetAttribute`, `SetAttribute`, `RemoveAttribute` | `Session::extensions` | `extensions_keep_one_value_per_type` |
//! | A.3-15 | `UpdateActive`, `GetActive` | `Session::touch`, `last_active` | `a_touch_counts_as_a_sign_of_life` |
//! | A.3-16 | `SetCompressType` | `SessionConfig::compression`; with real getty peers in `tests/interop/getty` | `compressed_sessions_echo_frames_of_all_sizes_and_end_in_order`, `go_vectors_are_understood_piece_by_piece` |
//! | A.3-17 | `WritePkg` | `Session::send`, `Cx::send`; the timeout is `write_stall` | `sends_report_congestion_and_stop_at_the_hard_limit`, `sends_of_many_threads_never_interleave` |
//! | A.3-18 | `WriteBytes` | `Session::send_bytes` | `bytes_and_many_messages_are_sent_as_one` |
//! | A.3-19 | `WriteBytesArray` | `Session::send_all` | `bytes_and_many_messages_are_sent_as_one` |
//! | A.3-20 | `Send`, `CloseConn`, `SetSession`, `IncReadPkgNum`, ... | none: what they did is the runtime's own business | `sends_of_many_threads_never_interleave` |
//! | A.3-21 | `AddCloseCallback`, `RemoveCloseCallback` | `Session::on_closed`, `remove_hook` | `hooks_run_once_and_can_be_taken_back` |
//! | A.3-22 | errors | `Error`, `SendError`, `CloseReason` | `no_callback_comes_after_the_close_and_handles_stay_harmless`, `a_connection_to_itself_counts_as_refused` |
//! | A.3-23 | reader: broken stream | `Codec::decode` answers an error | `malformed_and_oversized_frames_end_their_session_only` |
//! | A.3-24 | reader: header incomplete, header complete, frame complete | `Decoded::Need`, `Decoded::Message` | `echo_survives_any_split`, `a_large_announcement_alone_pins_no_memory` |
//! | A.3-25 | reader of datagrams and messages: an error drops the message only | `Input::is_whole` | `a_datagram_that_is_too_long_or_malformed_is_dropped_and_reported_and_the_next_one_is_fine`, `every_metric_moves` |
//! | A.3-26 | `OnOpen`, `OnMessage`, `OnCron`, `OnError`, `OnClose` | `on_open`, `on_message` or `Lane::on_batch`, `on_tick`, `on_error`, `on_close` | `opened_comes_before_the_first_message_and_closed_after_the_last`, `a_reset_by_the_peer_is_reported_once` |
//!
//! # A.4 Reading and writing
//!
//! | no. | getty | here | proof |
//! |---|---|---|---|
//! | A.4-1 | reads of 4 KiB, copied or not | reads of 64 KiB into a shared buffer, decoded where they lie | `input_copies_small_pieces_and_shares_large_ones`, `inline_echo_allocates_nothing_once_warm` |
//! | A.4-2 | a write queue and up to 10 messages per write, later one write per message | everything of a turn in one write | `a_pipeline_of_sixteen_costs_two_system_calls_and_no_registration` |
//! | A.4-3 | one or two goroutines per session | none: one thread for all | `idle_sessions_cost_no_turn_at_all` |
//! | A.4-4 | UDP buffer: longest message and 4 KiB | one arena for all | `a_bound_socket_answers_every_sender`, `both_ends_are_ours_and_any_size_goes_through` |
//! | A.4-5 | `connect-ping` | swallowed; sent if asked for | `a_ping_finds_out_whether_anybody_is_there_and_is_swallowed` |
//! | A.4-6 | WS: binary messages, ping and pong refresh the activity | the same | `a_message_is_sent_as_one_frame_of_the_kind_asked_for`, `a_peer_that_answers_no_ping_is_dead`, `pongs_and_messages_never_mix` |
//!
//! # A.5 Connecting and reconnecting
//!
//! | no. | getty | here | proof |
//! |---|---|---|---|
//! | A.5-1 | connect timeout 3 s | `ConnectOptions::timeout` | `an_attempt_times_out` |
//! | A.5-2 | self-connect check | addresses compared as values | `a_connection_to_itself_counts_as_refused` |
//! | A.5-3 | pool loop, linear pauses | `Growth::Linear` if wanted | `linear_grows_to_ten_times_the_base` |
//! | A.5-4 | a session that stops triggers the pool loop | the connector's own state, off the session's close | `a_close_is_told_while_the_peer_is_still_away` |
//! | A.5-5 | accept errors back off | 10 ms doubling to 1 s | `waiting_for_resources_doubles_and_starts_again`, `running_out_of_descriptors_sheds_connections_and_recovers` |
//!
//! # A.6 Task pools
//!
//! | no. | getty | here | proof |
//! |---|---|---|---|
//! | A.6-1 | simple pool | `Route::Blocking`, an elastic pool with a cap and a bounded queue | `the_elastic_pool_grows_to_its_cap_and_pauses_beyond_its_queue` |
//! | A.6-2 | queued pool | lanes: bounded, keyed, in order | `a_full_lane_pauses_its_sessions_and_loses_nothing`, `lanes_on_threads_keep_the_order_of_each_session` |
//!
//! # A.7 Timers
//!
//! | no. | getty | here | proof |
//! |---|---|---|---|
//! | A.7-1 | `GetTimeWheel`, `After`, `AfterFunc`, `Ticker` | `Handle::after`, `Handle::every`, cancellable; `Wheel` alone | `timers_fire_in_order_never_early_and_can_be_taken_back`, `a_period_repeats_without_drift_until_taken_back` |
//! | A.7-2 | a list that is walked | a hierarchical wheel | `behaves_like_a_sorted_map` |
//! | A.7-3 | actions pass through a queue, callbacks run on the wheel's goroutine | callbacks run on the reactor, between its turns | `callbacks_may_ask_for_anything`, `callbacks_outside_of_a_session_may_ask_for_anything_too` |
//!
//! # A.8 Close
//!
//! | no. | getty | here | proof |
//! |---|---|---|---|
//! | A.8-1 | `Close`, wait time, close frame, flush of compressors | the state machine of `Session::close`: flush, goodbye, discard, bounded | `graceful_close_delivers_everything_even_to_a_peer_that_keeps_talking`, `every_sequence_ends_once_and_stays_ended` |
//!
//! # A.9 How seata-golang uses it
//!
//! | no. | setting | here | proof |
//! |---|---|---|---|
//! | A.9-1 | heartbeats, keepalive, buffer sizes, timeouts, message size, RPC timeout | `SessionConfig`, `Keepalive`, `Session::call` | `accepted_sockets_inherit_the_listener_options`, `a_call_times_out_and_its_late_reply_is_counted` |
//!
//! # A.10 Pits of getty
//!
//! | no. | pit | answer | proof |
//! |---|---|---|---|
//! | A.10-1 | business logic on the reading goroutine waits for itself | replies are matched on the reactor before any hand-off | `handlers_that_wait_for_replies_do_not_wait_for_themselves` |
//! | A.10-2 | a pool that overflows into one more goroutine | bounded queues, reading pauses | `the_elastic_pool_grows_to_its_cap_and_pauses_beyond_its_queue`, `a_full_lane_pauses_its_sessions_and_loses_nothing` |
//! | A.10-3 | a pool that reorders messages of one session | keyed lanes | `lanes_on_threads_keep_the_order_of_each_session` |
//! | A.10-4 | seconds compared with nanoseconds: a dead deadline | one type for time | `a_silent_peer_is_closed_and_a_talking_one_is_not`, `ticks_round_deadlines_up_and_the_present_down` |
//! | A.10-5 | linger in the wrong unit | a close by state machine with a timer; linger only to abort | `a_peer_that_does_not_finish_is_cut_off_after_the_drain_timeout`, `abort_resets` |
//! | A.10-6 | no compression is compression at level 0 | none is none | `none_is_no_layer`, `echo_survives_any_split` |
//! | A.10-7 | snappy flushes only at the close | flushed once per turn | `a_flushed_turn_is_all_there`, `a_small_compressed_message_leaves_with_its_turn` |
//! | A.10-8 | vectored writes bypass the compression | one outbox below the transform | `what_is_written_at_once_is_compressed_as_a_whole` |
//! | A.10-9 | callers change each other's write timeout | the timeout belongs to the outbox | `a_stall_counts_from_when_the_peer_began_to_take_nothing` |
//! | A.10-10 | half a frame sent, session stays open | the outbox keeps the rest; a stall closes | `order_survives_any_write_size`, `a_peer_that_takes_no_bytes_is_closed_and_one_that_takes_some_is_not` |
//! | A.10-11 | several writers, interleaved frames | one writer: the reactor | `sends_of_many_threads_never_interleave` |
//! | A.10-12 | the connection is nil while others use the session | handles carry a generation | `no_callback_comes_after_the_close_and_handles_stay_harmless`, `replies_to_a_session_that_is_gone_are_dropped` |
//! | A.10-13 | reconnecting blocks the shutdown of the session | the connector is a state machine on the wheel | `a_close_is_told_while_the_peer_is_still_away` |
//! | A.10-14 | no limit of attempts, or successes that use it up | an explicit policy, reset by the peer's first frame | `gives_up_after_the_attempts_allowed`, `one_seed_one_sequence_and_a_word_of_the_peer_resets` |
//! | A.10-15 | a session started while the client closes leaks | the connector owns its attempts | `a_connector_ended_amid_its_work_leaves_nothing_behind` |
//! | A.10-16 | a callback's refusal redials at once | every retry passes the backoff | `a_session_refused_by_its_handler_is_tried_again_after_a_pause` |
//! | A.10-17 | a session that dies early is never replaced | the connector knows its session before any callback runs | `a_session_that_dies_in_its_first_callback_is_replaced` |
//! | A.10-18 | the end of the peer empties the pool for good | only our own close ends a link | `our_own_close_ends_the_link_but_an_abort_or_the_peer_does_not` |
//! | A.10-19 | linear backoff without jitter | capped, exponential, full jitter | `exponential_steps_double_to_the_cap_with_full_jitter` |
//! | A.10-20 | TLS: skipped dials, endless handshakes, nothing verified | typed configuration, a timeout for handshakes, verified by default | `a_server_that_is_not_trusted_is_refused_and_told_why`, `a_client_that_is_not_trusted_is_refused_and_told_why`, `options_that_make_no_sense_are_refused`, `a_handshake_that_stalls_times_out` |
//! | A.10-21 | WS close frame with text where the code belongs | a real code and reason | `a_close_frame_carries_a_code_and_then_its_reason`, `both_ends_say_goodbye_with_the_same_code` |
//! | A.10-22 | a self-connected socket is not closed | closed and counted as refused | `a_connection_to_itself_counts_as_refused` |
//! | A.10-23 | accept errors retried at once | sorted, with a pause where resources ran out | `accept_errors_are_sorted`, `running_out_of_descriptors_sheds_connections_and_recovers` |
//! | A.10-24 | closing a server leaves its sessions running | drain waits for them | `drain_answers_what_was_read_then_closes_in_order`, `dropping_a_reactor_closes_every_session_once` |
//! | A.10-25 | a timer wheel that walks lists and ticks when idle | O(1), and no turn without a reason | `behaves_like_a_sorted_map`, `idle_sessions_cost_no_turn_at_all` |
//! | A.10-26 | heartbeats wait behind business messages | inline on the reactor | `a_blocked_handler_delays_no_heartbeat`, `a_handler_that_blocks_for_seconds_delays_nobody_else` |
//! | A.10-27 | timers of closed sessions live on | taken off the wheel with the close | `closing_takes_every_timer_off_the_wheel` |
//! | A.10-28 | 32-bit counters | 64 bits | `counters_go_beyond_four_gib` |
//! | A.10-29 | log lines formatted though nobody reads them | nothing is formatted unless enabled | `nothing_is_logged_per_message_and_nothing_formatted_when_off` |
//! | A.10-30 | idle sessions wake up every second | no timer without a reason, no turn without an event | `idle_sessions_cost_no_turn_at_all` |
//! | A.10-31 | UDP: one call and one allocation per datagram, silent truncation | batches, one arena, truncation told | `under_load_a_system_call_moves_many`, `datagrams_are_echoed_without_allocating_once_warm`, `a_datagram_that_is_too_long_or_malformed_is_dropped_and_reported_and_the_next_one_is_fine` |
//! | A.10-32 | a panic ends the session without a word | told, closed, counted | `a_panic_in_any_callback_is_contained`, `a_panic_closes_its_session_only` |
//! | A.10-33 | a benchmark without replies | the generator checks every reply | `counts_every_message_of_a_memory_echo` |
//! | A.10-34 | a closed session spins | a close costs no further turn | `a_closed_session_costs_no_further_turn` |
//! | A.10-35 | WS client: the read limit is set too early | options before the dial | `the_limit_holds_from_the_first_message_on` |
//! | A.10-36 | a refused session stays open | refusal runs the ordinary close | `a_refused_session_gets_its_goodbye_and_one_close` |
//!
//! # Traps of seata-golang
//!
//! | no. | pit | answer | proof |
//! |---|---|---|---|
//! | T-1 | the reader does not wait for the whole frame | `Decoded::Need` | `echo_survives_any_split`, `bytes_arrive_whole_and_in_order_however_they_are_cut` |
//! | T-2 | 4096 bytes are too few for lock keys | 16 MiB by default, configurable | `the_default_limits_take_a_long_branch_registration` |
//! | T-3 | head map read with wrong bounds | checked against recorded bytes of real peers | `damaged_vectors` |
//! | T-4 | late replies block workers, one-way requests leave futures behind | late replies are counted and dropped, a dropped call frees its entry | `a_call_times_out_and_its_late_reply_is_counted`, `an_id_that_waits_is_refused_and_a_dropped_call_frees_it` |
//! | T-5 | the end of a session is counted twice, dead sessions are found | one close per session; counters end where they began | `dropping_a_reactor_closes_every_session_once`, `a_listener_has_a_limit_of_its_own`, `whatever_the_network_does_the_promises_hold` |
//! | T-6 | maps of clients keyed by port, never cleaned | keyed by session id, cleaned by its one close | `keys_go_stale`, `opened_comes_before_the_first_message_and_closed_after_the_last` |
//! | T-7 | silence is noticed after up to twice the period | `idle_timeout` is exact and apart from `tick` | `a_silent_peer_is_closed_and_a_talking_one_is_not` |
//!
//! # B Readiness
//!
//! | no. | what must be right | here | proof |
//! |---|---|---|---|
//! | B.1 | edge-triggered, registered once | sticky flags; no `epoll_ctl` in the steady state | `a_pipeline_of_sixteen_costs_two_system_calls_and_no_registration` |
//! | B.2 | short-transfer rule | one function | `a_short_read_drains_unless_the_end_was_announced`, `a_pipeline_of_sixteen_costs_two_system_calls_and_no_registration` |
//! | B.3 | fairness | `Budget`, a ready list served in turn | `a_hog_does_not_starve_a_polite_session`, `sessions_are_served_in_turn`, `budgets_of_zero_are_slow_and_not_a_standstill` |
//! | B.4 | spurious and stale events | an event is a hint; a stale token is counted | `whatever_the_network_does_the_promises_hold`, `keys_go_stale` |
//! | B.5 | EINTR | retried | `interrupted_calls_are_repeated`, `signals_disturb_nobody` |
//!
//! # B Accept, connect, close
//!
//! | no. | what must be right | here | proof |
//! |---|---|---|---|
//! | B.6 | accept loop | budget, sorted errors, a spare descriptor | `accept_errors_are_sorted`, `running_out_of_descriptors_sheds_connections_and_recovers`, `a_flood_over_the_limit_is_closed_and_the_rest_served` |
//! | B.7 | options on the listener | inherited and read back | `accepted_sockets_inherit_the_listener_options`, `options_reach_accepted_sockets` |
//! | B.8 | connect | never blocks; names off the reactor; all addresses in order | `an_attempt_times_out`, `names_are_resolved_off_the_reactor_and_bad_ones_back_off`, `a_full_queue_is_a_failed_attempt_and_tried_again` |
//! | B.9 | self-connect | counted as refused | `a_connection_to_itself_counts_as_refused` |
//! | B.10 | backoff | reset by the first frame only | `a_server_that_accepts_and_closes_at_once_does_not_reset_the_backoff`, `exponential_steps_double_to_the_cap_with_full_jitter`, `a_connector_ended_amid_its_work_leaves_nothing_behind` |
//! | B.11 | half-close and close | flush, goodbye, discard, bounded; one reason | `graceful_close_flushes_shuts_down_and_discards`, `half_close_keeps_the_session_for_writing`, `graceful_close_delivers_everything_even_to_a_peer_that_keeps_talking`, `abort_resets`, `goodbyes_go_down_from_the_top_and_an_end_without_one_is_told` |
//! | B.12 | tokens of slot and generation | retired when used up | `keys_go_stale`, `a_slot_is_retired_when_its_generations_are_used_up` |
//!
//! # B Bytes
//!
//! | no. | what must be right | here | proof |
//! |---|---|---|---|
//! | B.13 | receive buffers | none while idle | `an_idle_inbox_has_no_memory_and_an_unfinished_frame_little`, `idle_sessions_hold_less_than_two_kilobytes` |
//! | B.14 | decoding in place | pieces share the buffer; small ones are copied | `input_copies_small_pieces_and_shares_large_ones`, `what_codecs_took_off_is_dropped_at_once_for_all_frames`, `arena_reuses_memory_nobody_holds`, `a_large_announcement_alone_pins_no_memory` |
//! | B.15 | outbox | a tail for small frames, links for large ones, 64 slices | `small_messages_leave_with_one_plain_write`, `a_long_tail_is_sealed_and_slices_are_bounded`, `order_survives_any_write_size` |
//! | B.16 | one flush per turn | depth 16 costs two calls | `a_pipeline_of_sixteen_costs_two_system_calls_and_no_registration`, `what_waited_arrives_as_one_batch_and_replies_leave_together` |
//! | B.17 | watermarks | congestion, pause, hard limit, stall; what is under way counts | `sends_report_congestion_and_stop_at_the_hard_limit`, `a_peer_that_does_not_read_is_no_longer_read`, `bytes_on_their_way_to_the_reactor_count`, `overflow_closes_where_so_configured` |
//!
//! # B Threads
//!
//! | no. | what must be right | here | proof |
//! |---|---|---|---|
//! | B.18 | one wake per burst | every interleaving | `one_producer_is_always_heard`, `without_the_second_look_a_wake_up_is_lost`, `wakes_once_per_sleep_and_never_while_running` |
//! | B.19 | remote queue | one, bounded per turn, in order | `a_bounded_drain_leaves_the_rest_in_order`, `what_waited_arrives_as_one_batch_and_replies_leave_together` |
//! | B.20 | graceful shutdown | in order, from anywhere, twice is abort | `drain_answers_what_was_read_then_closes_in_order`, `drain_from_a_callback_does_not_deadlock`, `a_second_drain_is_the_deadline`, `the_deadline_cuts_off_what_is_stuck` |
//! | B.21 | timing wheel | 64 x 6, lazy re-arm, phases | `behaves_like_a_sorted_map`, `sleeping_until_the_next_deadline_is_exact`, `traffic_costs_no_timer`, `ticks_of_many_sessions_are_spread_over_the_period` |
//!
//! # B Protocol transforms, datagrams, other sockets
//!
//! | no. | what must be right | here | proof |
//! |---|---|---|---|
//! | B.22 | TLS | a layer of its own | `every_step_and_every_split_leads_to_the_same_terms`, `pieces_of_a_turn_share_records_which_are_small_at_first`, `an_end_without_a_goodbye_is_truncation`, `the_second_connection_is_resumed`, `protocols_that_have_nothing_in_common_end_the_handshake`, `a_key_update_is_answered_before_the_next_record`, `handshakes_may_be_worked_out_on_other_threads` |
//! | B.23 | WebSocket | a layer of its own | `a_server_answers_the_standards_example_at_every_split`, `every_split_gives_the_same_messages`, `fragments_count_against_the_limit_together`, `a_flood_of_pings_is_answered_in_portions`, `contexts_and_windows_of_every_kind_understand_each_other`, `a_bomb_meets_the_limit` |
//! | B.24 | compression | a layer of its own | `any_split_of_any_stream_gives_the_same_bytes`, `a_flushed_turn_is_all_there`, `a_bomb_goes_off_in_small_parts`, `go_vectors_are_understood_piece_by_piece`, `bytes_that_mean_nothing_use_up_the_budget` |
//! | B.25 | UDP | batches of 32; UDP_GRO and UDP_SEGMENT are left out | `a_bound_socket_answers_every_sender`, `under_load_a_system_call_moves_many`, `a_refusal_does_not_end_the_session`, `what_the_kernel_will_not_send_is_dropped_and_reported_and_the_next_one_goes`, `datagrams_wait_up_to_the_limit_and_then_are_dropped_and_counted`, `no_datagram_is_altered_whatever_the_network_does` |
//! | B.26 | shared ports and unix sockets | `reuse_port`, `Endpoint::Unix` | `two_reactors_share_a_port`, `a_stale_file_is_replaced_but_a_live_server_and_other_files_are_not`, `an_abstract_name_needs_no_file`, `the_file_has_the_permissions_asked_for`, `both_ends_know_who_the_other_is`, `a_full_queue_is_a_failed_attempt_and_tried_again` |
//!
//! # B Handlers
//!
//! | no. | what must be right | here | proof |
//! |---|---|---|---|
//! | B.27 | replies are matched on the reactor | `call`, `Route::Reply` | `replies_find_their_calls_in_any_order`, `handlers_that_wait_for_replies_do_not_wait_for_themselves`, `closing_fails_what_waits_at_once`, `a_graceful_close_fails_its_calls_before_it_flushes` |
//! | B.28 | dispatch classes | `Route` | `lanes_on_threads_keep_the_order_of_each_session`, `the_elastic_pool_grows_to_its_cap_and_pauses_beyond_its_queue` |
//! | B.29 | queues never block the reactor | the message stays in its session | `a_full_lane_pauses_its_sessions_and_loses_nothing`, `a_burst_larger_than_a_lane_holds_is_taken_in_parts`, `too_many_bytes_in_all_stop_all_reading_until_they_are_fewer` |
//! | B.30 | heartbeats cannot starve | inline; silence we caused does not count | `a_blocked_handler_delays_no_heartbeat`, `a_handler_that_blocks_for_seconds_delays_nobody_else`, `silence_that_we_caused_does_not_count` |
//! | B.31 | panic isolation | one session per panic; a lane ends the reactor | `a_panic_in_any_callback_is_contained`, `a_lane_that_panics_ends_the_reactor_with_an_error`, `a_panic_closes_its_session_only` |
//! | B.32 | batch hand-off | one push and one unpark per lane and turn | `what_waited_arrives_as_one_batch_and_replies_leave_together`, `lanes_and_timers_allocate_nothing_once_warm` |
//! | B.33 | re-entrancy | each callback with each operation | `callbacks_may_ask_for_anything`, `callbacks_outside_of_a_session_may_ask_for_anything_too` |
//!
//! # B Hosts
//!
//! | no. | what must be right | here | proof |
//! |---|---|---|---|
//! | B.34 | embedding | a turn, a timeout, a descriptor; a timerfd where the host has only that | `a_host_sleeps_on_the_descriptor_and_the_timeout`, `the_descriptor_alone_is_enough_where_so_configured`, `a_reactor_may_move_between_threads`, `several_reactors_share_a_port_and_a_process` |
//! | B.35 | busy polling | idle strategies, prepared memory, `Config::busy_poll` | `busy_polling_is_set_on_every_socket_or_refused_with_the_reason`, `every_idle_strategy_serves`, `a_prepared_reactor_allocates_nothing_from_the_first_message_on` |
//! | B.36 | determinism | the simulation | `whatever_the_network_does_the_promises_hold`, `the_promises_hold_over_every_kind_of_stream`, `one_seed_is_one_run`, `every_promise_can_be_seen_to_break` |
//! | B.37 | metrics | `Metrics` | `every_metric_moves` |
//! | B.38 | logging | at changes of state, never per message | `nothing_is_logged_per_message_and_nothing_formatted_when_off` |
//! | B.39 | limits | finite by default, any value can be given | `every_limit_is_finite_by_default`, `no_value_of_a_limit_panics` |
