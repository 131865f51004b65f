"""Each kind of input, folder and path that users reported as a fault has a test: this table says which one."""

# A line of the table for each case.
# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path

import pytest

from named_tests import find_test

TESTS = Path(__file__).parent.parent

#: What was wrong with an input → the test, or the odd file, that would show it again.
CASES = {
    "an interval in a prompt or an id ends the process": "odd/interval.arrow",
    "a named tuple in a prompt ends the process": "prompts/test_cells.py::test_a_cell_of_any_library_is_plain_json",
    "an object without a text ends the run": "prompts/test_cells.py::test_a_cell_without_a_text_costs_its_row_and_is_not_quoted",
    "categories of polars are unreadable": "read/test_open.py::test_categories_of_views_are_read",
    "a date after 9999 costs its row": "read/test_open.py::test_arrow_cells_are_plain_on_all_levels",
    "a cell of a column that nobody named costs its row": "read/test_open.py::test_only_the_named_columns_are_read",
    "more columns are read than named": "prompts/test_cells.py::test_a_builder_names_the_columns_that_it_needs",
    "rows of a failed Spark job": "read/test_dataset_folders.py::test_the_rests_of_a_failed_spark_job_are_not_read",
    "removed rows of a Delta table": "read/test_dataset_folders.py::test_only_the_current_files_of_a_table_are_read",
    "a Delta table without its package": "read/test_dataset_folders.py::test_a_table_whose_current_files_are_unknown_is_a_problem",
    "removed rows of an Iceberg table": "read/test_dataset_folders.py::test_only_the_current_files_of_an_iceberg_table_are_read",
    "columns in names of folders": "read/test_dataset_folders.py::test_partition_folders_give_columns",
    "state files of Hugging Face": "read/test_dataset_folders.py::test_files_that_describe_a_hugging_face_dataset_are_not_read",
    "a folder that cannot be listed": "read/test_files.py::test_a_folder_without_permission_is_a_problem_with_its_reason",
    "a broken link": "run/test_job.py::test_what_cannot_be_listed_is_a_failed_file",
    "an input that vanishes": "run/test_job.py::test_a_file_that_vanishes_fails_and_the_others_are_scored",
    "a scored input that vanishes": "run/test_job.py::test_a_scored_file_that_vanishes_keeps_its_scores",
    "maps are lists of pairs": "odd/maps.parquet",
    "float32 as float64": "odd/short-floats.parquet",
    "whole floats as ids": "prompts/test_cells.py::test_a_whole_float_is_an_id_without_its_point",
    "arrays in frames": "api/test_score_rows.py::test_the_rows_of_a_frame_have_arrays_as_lists_and_missing_values_as_nothing",
    "NA and NaT in frames": "prompts/test_cells.py::test_every_missing_value_is_empty",
    "bytes are sent as text and kept as base64": "prompts/test_cells.py::test_a_cell_is_kept_as_it_is_sent",
    "gzip within gzip": "odd/gzipped-twice.csv.gz",
    "a tar archive within gzip": "odd/tar-in-truth.csv.gz",
    "integers of 128 bits": "odd/int128.parquet",
    "LZO": "odd/lzo.parquet",
    "kept names that collide": "run/test_job.py::test_kept_names_that_other_programs_take_for_one_are_refused",
    "all columns with a column id": "run/test_job.py::test_all_columns_are_kept_with_a_column_id",
    "-o out.csv": "output/test_spec.py::test_a_file_of_another_format_is_refused_with_the_formats",
    "-o - and -o x.parquet/": "output/test_spec.py::test_standard_output_and_a_folder_with_the_name_of_a_file_are_refused",
    "-o link.jsonl": "run/test_job.py::test_one_file_is_written_through_a_link",
    "~ in an output": "output/test_spec.py::test_a_leading_tilde_is_the_home_folder",
    "~ in an INPUT": "read/test_files.py::test_a_leading_tilde_is_the_home_folder",
    "~ in other settings": "settings/test_types.py::test_a_leading_tilde_is_the_home_folder",
    "verify . and merge / end in a traceback": "stores/test_address.py::test_a_path_has_a_name",
    "names that begin with -": "stores/test_address.py::test_a_place_is_a_word_of_a_command",
    "an offered command writes a hidden file": "report/test_advice.py::test_the_merged_file_is_beside_the_folder_and_not_hidden",
    "flags are offered behind --": "report/test_advice.py::test_flags_are_added_before_the_names_of_files",
    "a renamed file is all new and all changed": "output/test_changes.py::test_an_id_that_moved_to_another_file_has_one_line",
    "a renamed file with ids is new and changed": "run/test_job.py::test_a_renamed_file_is_reported_as_moved",
    "the next command after unreadable rows is a dead end": "cli/test_cli_summary.py::test_the_next_command_works_after_the_input_is_fixed",
    "a rehearsal in which all failed proposes the whole run": "cli/test_cli_summary.py::test_a_rehearsal_in_which_all_rows_fail_does_not_propose_the_whole_run",
    "a file in another encoding is half scored": "cli/test_cli_misuse.py::test_a_text_that_is_not_utf8_is_reported_before_the_first_request",
    "what remains is hidden": "cli/test_cli_summary.py::test_what_remains_is_counted_also_in_files_that_were_not_read",
    "the second Ctrl-C says nothing of requests in flight": "cli/test_cli_stop.py::test_a_second_signal_quits_at_once",
    "a deadline that is shorter than a reply": "run/test_stop.py::test_a_deadline_that_is_shorter_than_a_reply_is_for_a_person",
    "help contradicts behaviour": "cli/test_cli_commands.py::test_help_is_as_reviewed",
    "a row larger than the quota is sent for ever": "engine/test_engine_quota.py::test_a_row_larger_than_a_minutes_quota_is_an_error_at_once_and_the_others_are_scored",
    "odd ticks in the report": "report/test_page.py::test_ticks_are_at_round_times",
    "a deployment that answered nothing is up": "report/test_page.py::test_a_deployment_that_answered_nothing_is_not_up",
    "Python errors speak of flags": "api/test_public_score_files.py::test_errors_name_arguments",
    "--temperature suggests --prune": "settings/test_types.py::test_common_parameters_are_settings_and_are_sent_as_the_parameter_would_be",
    "a literal line break in a prompt": "cli/test_cli_summary.py::test_a_shell_that_left_a_backslash_is_noticed",
    "a panel that does not fit": "report/test_words.py::test_the_panel_fits_any_terminal",
    "another task keeps the model of embeddings": "azureml/test_deploy_script.py::test_an_embeddings_model_for_another_task_is_reported_before_any_call",
    "another task has no model of its own": "azureml/test_deploy_script.py::test_each_task_has_a_default_model_of_its_own",
    "the summary goes to another stream if rows fail": "cli/test_cli_summary.py::test_the_summary_is_on_standard_output_whether_rows_fail_or_not",
    "two spellings of a duration": "report/test_words.py::test_figures_have_units",
    "1 runs": "house/test_house_shape.py::test_one_function_writes_a_count_with_its_noun",
    "no -V": "cli/test_cli_commands.py::test_help_is_as_reviewed",
    "missing settings are reported one at a time": "cli/test_cli_misuse.py::test_flags_that_cannot_be_used",
    "a hint needs an index that does not have the project": "azureml/test_check.py::test_without_the_extra_it_says_what_to_install",
    "a withheld key is not named": "endpoint/test_target.py::test_a_key_that_is_withheld_from_a_host_is_named_with_the_reason",
    "a page wider than its window": "cli/test_cli_report.py::test_a_page_in_a_browser",
    "a model whose name is a path": "mlflow_model/test_model_read.py::test_a_path_without_a_model_is_a_name_only_beside_a_task",
    "the address that was called is not shown": "cli/test_cli_gateways.py::test_a_refusal_says_which_address_was_called_and_which_key_was_withheld",
    "MLflow's sqlite store without its library": "report/test_tracking.py::test_without_a_database_library_the_reason_is_said",
    "blocks of zero bytes are called UTF-16": "odd/zero-bytes-after-a-crash.jsonl",
    "UTF-32 without a mark": "odd/utf-32-without-a-mark.csv",
    "byte order marks within joined files": "odd/joined-files.jsonl",
    "all lines are skipped": "odd/all-lines-skipped.csv",
    "a time zone that is not known": "read/test_open.py::test_a_time_zone_that_is_not_known_costs_the_rows_that_need_it_with_the_reason",
    "a working folder that was removed": "read/test_files.py::test_a_working_folder_that_was_removed_is_named",
    "a name that is too long": "stores/test_address.py::test_an_invalid_address_is_reported_without_its_secret",
    "whole numbers beyond 64 bits, dates and NaN in settings": "settings/test_types.py::test_the_message_names_setting_value_and_type",
    "settings that are nested too deeply": "settings/test_types.py::test_what_is_nested_too_deeply_is_refused_at_each_door",
    "cells without a name": "api/test_score_rows.py::test_cells_without_a_name_are_not_columns",
    "the 99th percentile is hidden behind the 95th": "report/test_page.py::test_the_slowest_hundredth_is_drawn_above_an_equal_percentile_and_in_the_figures",
    "counts with fractions": "report/test_page.py::test_counts_have_whole_ticks",
    "0 of 0": "report/test_page.py::test_nothing_is_a_part_of_nothing",
    "tables cut at 1280 pixels, captions at 390": "cli/test_cli_report.py::test_a_page_in_a_browser",
    "Python errors hold values in the words of the command line": "api/test_public_score_files.py::test_a_hint_is_an_argument_that_can_be_copied",
    "a path of a command that is no file": "settings/test_read_file.py::test_a_pipe_a_device_and_a_loop_are_named",
    "a path of files for Azure ML that is no file": "azureml/test_check.py::test_nothing_to_check_is_an_error",
    "a loop of links": "stores/test_links.py::test_a_loop_of_links_is_a_path_and_no_error",
    "a folder without permission": "cli/test_cli_misuse.py::test_a_folder_without_permission_is_named_by_each_command",
    "settings that are not UTF-8": "settings/test_types.py::test_the_message_names_setting_value_and_type",
    "an encoding is said of files that are ASCII": "plan/test_survey.py::test_no_encoding_is_said_of_a_file_that_any_encoding_reads_the_same",
    "a row of csv that is not UTF-8 has no line": "read/test_open.py::test_a_row_in_another_encoding_has_its_line",
    "a column whose name is nearly right": "prompts/test_prompt.py::test_a_missing_column_is_named_with_similar_ones_first",
}


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_its_test(case: str) -> None:
    path = CASES[case]
    assert find_test(path) if "::" in path else (TESTS / f"{path}.expected.json").is_file()
