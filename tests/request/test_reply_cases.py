"""Which test holds which case of the services that people report? A table, and a check that it is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

JUDGING = "engine/test_engine_judging.py::"
OUTCOME = "request/test_outcome_rules.py::"
MISHAPS = "engine/test_engine_mishaps.py::"
FAULTS = "cli/test_cli_faults.py::"
TARGET = "endpoint/test_target.py::"

#: What services do, and the tests that hold what is right then.
CASES = {
    "credit runs out as a 400, 402, 403 or 429": JUDGING
    + "test_credit_that_runs_out_stops_the_run_and_blames_no_row",
    "other words for an account without credit": OUTCOME
    + "test_words_for_an_account_without_credit_are_known",
    "a 429 about the account": OUTCOME + "test_a_429_about_the_account_stops_and_one_about_the_rate_waits",
    "a rate limit with 403": OUTCOME + "test_a_rate_limit_with_403_is_waited_for",
    "a row is quoted with the words of an account": JUDGING
    + "test_a_row_that_is_quoted_with_such_words_is_the_only_one_refused",
    "one good reply, then all bad": JUDGING
    + "test_twenty_rows_refused_alike_are_probed_and_the_probes_words_are_shown",
    "many rows are really bad": JUDGING + "test_rows_that_are_really_bad_are_probed_now_and_then_only",
    "a wrong parameter with few rows": JUDGING + "test_a_wrong_parameter_is_found_with_few_rows",
    "504, 524, 408 or 500 above a number of inputs": JUDGING
    + "test_a_limit_of_inputs_is_found_and_remembered",
    "one row that always fails": JUDGING + "test_one_bad_row_of_300_costs_20_requests_and_3_times_the_inputs",
    "a failure that passes": JUDGING + "test_a_failure_that_passes_does_not_make_requests_smaller",
    "larger requests fail for a while": JUDGING
    + "test_a_failure_of_larger_requests_that_passes_is_no_rows_error",
    "an outage while a row waits": JUDGING
    + "test_an_outage_fails_no_row_while_one_waits_for_its_next_attempt",
    "several rows that are always limited": JUDGING
    + "test_rows_that_are_always_limited_wait_at_the_same_time",
    "few pending requests": JUDGING + "test_a_service_with_few_requests_at_once_is_used_as_if_they_were_set",
    "stray 429s": JUDGING + "test_three_stray_429s_cost_at_most_10_seconds",
    "a row that is always limited": JUDGING + "test_a_row_that_is_always_limited_does_not_hold_up_the_others",
    "a row that the service calls larger than its limit": JUDGING
    + "test_a_row_that_the_service_calls_larger_than_its_limit_is_over_quota_at_once",
    "which reset is waited for; epochs": OUTCOME + "test_a_reply_says_how_long_to_wait",
    "a stray 403, 404, 402 or failed schema": JUDGING + "test_a_stray_refusal_costs_no_row",
    "a firewall refuses one row": MISHAPS + "test_a_refused_row_costs_only_itself",
    "a 424 of Azure ML": JUDGING + "test_errors_of_an_azure_ml_container_are_judged_by_their_own_status",
    "a 403 of API Management": JUDGING + "test_a_used_up_quota_of_api_management_is_waited_for",
    "a 403 of API Management for days": JUDGING
    + "test_a_quota_of_api_management_that_takes_days_is_an_outage",
    "base64 is refused": JUDGING + "test_vectors_as_numbers_are_asked_for_if_base64_is_refused",
    "no usable reply was ever seen": MISHAPS + "test_replies_that_were_never_usable_are_for_a_person",
    "another protocol, or a client certificate": JUDGING
    + "test_what_a_service_wants_of_a_person_is_no_outage",
    "a 500 that holds a code of content; a 413 that is a rate limit; codes of quotas": OUTCOME
    + "test_status_and_code_decide",
    "a redirect": OUTCOME + "test_a_redirect_says_to_which_host",
    "a row that is never answered": JUDGING + "test_a_row_that_is_never_answered_is_given_up_in_minutes",
    "a limit in headers that is smaller than what is answered": JUDGING
    + "test_a_row_that_was_answered_proves_that_rows_of_its_size_fit_a_small_limit_in_headers",
    "rate limits in the headers of other gateways": "request/quota/test_limits.py::"
    "test_limits_are_read_in_the_names_and_units_of_each_gateway",
    "a limit of requests a second that looks like a minute's": "request/quota/test_limits.py::"
    "test_a_limit_of_a_second_is_distinguished_from_one_of_a_minute",
    "a size limit that passes": JUDGING + "test_a_reduced_size_grows_back_when_larger_requests_are_accepted",
    "a body without an end": "request/test_wire.py::test_a_body_without_an_end_is_given_up",
    "lone surrogates, byte order marks, UTF-16, gzip twice, large and many headers": FAULTS
    + "test_replies_that_official_clients_read_are_read",
    "two lengths, or a length and chunks": FAULTS
    + "test_a_service_that_breaks_http_must_be_fixed_unless_its_replies_have_an_end",
    "a reply of gigabytes": FAULTS + "test_a_reply_of_gigabytes_costs_its_row",
    "a certificate of another name, or TLS to a plain port": "request/test_wire_certificates.py::"
    "test_a_failed_handshake_says_what_is_wrong",
    "a client certificate": "request/test_wire_certificates.py::"
    "test_a_server_that_demands_a_client_certificate_gets_it",
    "regional hosts of Azure, full URLs, API at the root": TARGET + "test_an_environment_leads_to_its_target",
    "quotes around a key": TARGET + "test_an_unusable_setting_is_reported_without_a_secret",
    "the key's header, or both": TARGET + "test_the_key_and_other_headers_go_where_a_gateway_expects_them",
    "query parameters": TARGET + "test_query_parameters_are_sent_and_never_shown",
    "Basic sign-in": TARGET + "test_a_user_and_password_are_sent_in_base64",
    "a withheld key": TARGET + "test_a_key_that_is_withheld_from_a_host_is_named_with_the_reason",
    "a first reply of wrong vectors": MISHAPS + "test_a_malformed_first_reply_does_not_fix_the_dimensions",
    "a key that is refused with 400": OUTCOME
    + "test_credentials_that_are_refused_with_400_are_not_called_a_parameter",
    "a content filter, in the words of each service": OUTCOME + "test_status_and_code_decide",
    "errors in other shapes": OUTCOME + "test_the_message_is_found_in_each_shape_of_an_error",
    "vectors of eight bytes a number": "prompts/test_replies.py::"
    "test_numbers_of_eight_bytes_are_not_read_as_twice_as_many",
    "a reply to a probe is shown and not kept": "cli/test_cli_quota.py::"
    "test_what_the_service_says_to_our_own_word_is_shown_and_not_kept",
    "a 429 without a wait is not the service's wish": JUDGING
    + "test_a_wait_without_a_time_is_not_called_the_services_wish",
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_has_its_test(case: str) -> None:
    file, _, name = CASES[case].partition("::")
    text = (Path(__file__).parents[1] / file).read_text("utf-8")
    assert re.search(rf"^def {name}\(", text, re.MULTILINE)
