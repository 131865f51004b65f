"""Each attack that once gave a credential away, a wrong record or an unbounded run has tests: this table says which.

A name in brackets is a case within a table of that test's file.
"""

# A line of the table for each case.
# ruff: noqa: E501

from __future__ import annotations

import pytest

from named_tests import find_test

#: What an attack did → the tests that would show it again.
ATTACKS = {
    "a settings file that nobody named sends a variable, a token or a secret to its host": [
        "endpoint/test_trust_matrix.py::test_a_credential_is_sent_where_the_table_says",
        "endpoint/test_trust_matrix.py::test_with_all_variables_set_no_other_credential_is_sent",
        "settings/test_trust.py::test_a_table_names_only_variables_that_were_made_for_its_key",
        "cli/test_cli_trust.py::test_a_file_that_nobody_named_sends_no_variable_to_its_host",
        "cli/test_cli_trust.py::test_what_is_typed_beats_the_tables_of_a_file",
        "cli/test_cli_trust.py::test_a_token_of_azure_goes_to_no_host_that_only_a_file_names",
    ],
    "a run that is killed between two files is called complete": [
        "cli/test_cli_kill.py::test_a_run_that_is_killed_between_two_files_is_incomplete",
    ],
    "a reply of 2 MB takes gigabytes, or its decoding outlasts the timeout": [
        "cli/test_cli_faults.py::test_a_reply_of_gigabytes_costs_its_row",
        "request/test_wire.py::test_a_body_beyond_bounds_is_given_up",
        "request/test_wire.py::test_a_body_without_an_end_is_given_up",
        "provider/test_provider.py::test_a_reply_without_a_bound_is_given_up",
    ],
    "older or exchanged digests of rows give rows the vectors of others": [
        "cli/test_cli_incremental.py::test_digests_of_rows_that_are_not_those_of_their_part_give_no_row_the_answer_of_another",
        "output/test_mutations.py::test_digests_of_rows_are_those_of_their_part_or_none",
        "output/test_verify.py::test_each_damage_is_found_and_repaired[digests-exchanged]",
    ],
    "merge, one file and read_scores read damaged parts": [
        "output/test_verify.py::test_readers_of_all_scores_refuse_each_damage_or_read_what_was_written[digit]",
        "output/test_verify.py::test_readers_of_all_scores_refuse_each_damage_or_read_what_was_written[manifest-gone]",
        "output/test_verify.py::test_readers_of_all_scores_compare_each_record_with_its_part[of-another-file]",
        "output/test_verify.py::test_parts_that_were_exchanged_with_their_digests_are_refused",
    ],
    "a secret in a parameter is printed at the end, or its name is not known": [
        "cli/test_cli_secrets.py::test_a_secret_parameter_is_shown_nowhere",
        "settings/test_secrets.py::test_names_of_secrets_are_known_and_others_stay_readable[connection_string]",
        "settings/test_secrets.py::test_a_parameter_in_the_wrong_form_is_not_quoted",
        "mlflow_model/test_mlflow_function.py::test_saving_refuses_secrets_other_settings_and_a_full_folder",
    ],
    "a planted link in an output is followed and its target overwritten": [
        "cli/test_cli_links.py::test_a_planted_link_is_refused_and_its_target_stays",
        "output/test_lock.py::test_a_lock_is_not_taken_or_renewed_through_a_link",
        "output/test_journal.py::test_no_journal_is_written_or_read_through_a_link",
    ],
    "links of the input lead out of its folder": [
        "read/test_files.py::test_links_out_of_the_input_are_followed_on_request_only",
        "read/test_files.py::test_a_link_to_the_whole_disk_is_not_walked",
        "cli/test_cli_links.py::test_the_end_says_which_links_of_the_input_were_followed",
    ],
    "a manifest with another length of vectors lets every run pay for nothing": [
        "output/test_verify.py::test_a_run_with_a_wrong_length_of_vectors_is_refused_and_works_after_a_repair",
    ],
    "a damaged manifest ends in a traceback, and a pipe in place of a part hangs": [
        "output/test_mutations.py::test_a_damaged_manifest",
        "output/test_mutations.py::test_no_reader_waits_for_what_is_no_file",
        "output/test_verify.py::test_each_damage_is_found_and_repaired[no-fingerprint]",
        "output/test_verify.py::test_each_damage_is_found_and_repaired[figure]",
    ],
    "a version that is text is correct to verify and wrong to the others": [
        "output/test_verify.py::test_each_damage_is_found_and_repaired[version-as-text]",
    ],
    "a row of one word comes back as an error code and is kept": [
        "request/test_outcome_rules.py::test_a_word_of_the_prompt_is_not_shown_as_a_code",
    ],
    "the name of a file is a formula in a table of MLflow": [
        "report/test_tracking.py::test_the_table_of_files_holds_no_formula",
    ],
    "an output that is removed in the middle of a run is called saved": [
        "cli/test_cli_kill.py::test_an_output_that_is_removed_while_a_run_works_is_not_called_saved",
    ],
    "rate limits without an end outlast --max-outage": [
        "engine/test_engine_mishaps.py::test_rate_limits_without_an_end_are_an_outage",
    ],
    "a key that is refused once ends the run": [
        "engine/test_engine_mishaps.py::test_a_key_that_is_refused_now_and_then_does_not_end_the_run",
        "engine/test_engine_mishaps.py::test_a_key_that_is_revoked_ends_the_run_in_half_a_minute",
    ],
    "files of quotas and of killed writers stay for ever": [
        "request/quota/test_shared_file.py::test_files_that_nobody_uses_are_removed",
        "output/test_merge_parts.py::test_what_a_killed_merge_has_left_beside_its_file_is_removed",
        "stores/test_half_written.py::test_what_a_killed_process_was_writing_is_removed_at_once",
    ],
    "a manifest that was changed so that all fits leaves no trace": [
        "output/test_verify.py::test_each_damage_is_found_and_repaired[last-part-dropped]",
        "output/test_verify.py::test_a_file_of_an_earlier_state_is_found_by_each_reader",
        "output/test_verify.py::test_damaged_run_records_are_named_and_removed_only_if_nothing_is_lost",
    ],
    "an object of columns, or long rows, take a gigabyte": [
        "read/test_memory.py::test_a_large_json_object_is_refused_in_little_memory",
        "cli/test_cli_large_runs.py::test_long_rows_at_the_default_concurrency_take_little_memory",
    ],
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_has_its_tests(attack: str) -> None:
    assert [name for name in ATTACKS[attack] if not find_test(name)] == []
