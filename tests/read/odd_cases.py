"""Which test holds which kind of unusual text file? Odd files by name, tests by function."""

from __future__ import annotations

SURVEY = "plan/test_survey.py::"

#: A kind of file → the odd files and tests that say what is right.
CASES: dict[str, tuple[str, ...]] = {
    "01 a column that first appears late, in json, jsonl and a folder": (
        f"{SURVEY}test_a_column_that_first_appears_late_is_found",
        f"{SURVEY}test_a_late_column_may_be_the_id_or_kept_and_a_misspelt_one_is_refused",
        f"{SURVEY}test_in_a_folder_each_file_may_have_the_column_late_or_not_at_all",
    ),
    "02 quotes that are part of texts": (
        *(
            "quotes-in-texts.tsv",
            "quotes-in-texts.csv",
            "quotes-none.tsv",
            "quotes-meant.tsv",
            "quotes-at-the-start-of-texts.tsv",
        ),
        *("late-quotes-in-texts.tsv", "letters-over-several-lines.csv", "quote-inside-a-cell.csv"),
    ),
    "03 quotes after a backslash": ("escaped-quotes.csv", "path-at-the-end-of-a-quote.csv"),
    "11 a table of pandas with orient=split": ("split.json", "split-of-three.json", "header-and-rows.json"),
    "12 a table of pandas with its schema": ("table-schema.json",),
    "15 records in a member": (
        *("wrapped-data.json", "wrapped-deep.json", "wrapped-beside-nothing.json", "wrapped-alone.json"),
        *("wrapped-nothing.json", "wrapped-twice.json", "wrapped-or-a-row.json", "wrapped-texts.json"),
        *(
            "wrapped-arrays.json",
            "wrapped-columns.json",
            "list-of-more-text.json",
            "named-records.json",
            "named-nothing.json",
            "named-itself.json",
        ),
    ),
    "16 requests for the Batch API": (f"{SURVEY}test_a_batch_file_is_known_and_its_inner_column_is_taken",),
    "17 conversations with their answers": (
        f"{SURVEY}test_the_answer_at_the_end_of_a_conversation_is_not_sent",
    ),
    "18, 59, 74 an id or a mostly empty column": (
        f"{SURVEY}test_an_id_or_a_mostly_empty_column_is_not_taken_by_itself",
        f"{SURVEY}test_the_columns_that_are_sent_are_said_and_why",
    ),
    "20 a comma in a header of semicolons": (
        "comma-in-a-quoted-name.csv",
        "comma-in-a-name.csv",
        "decimal-commas.csv",
    ),
    "21 pipes and other delimiters": ("pipes.csv", "pipes.tsv", "commas.tsv", "named-delimiter.csv"),
    "22 a blank after the delimiter": ("blanks-before-quotes.csv",),
    "23 a delimiter at the end of rows": (
        *("delimiter-at-the-end-of-rows.csv", "delimiters-at-the-end-of-rows.csv"),
        "delimiter-at-the-end-of-the-header.csv",
    ),
    "24 a line sep= that was saved again": ("sep-line-saved-again.csv", "sep-line-saved-with-commas.csv"),
    "25 two byte order marks": ("two-boms.csv", "joined-files.jsonl"),
    "29 decomposed letters": (f"{SURVEY}test_a_name_may_be_written_with_letters_composed_or_not",),
    "32 columns with the same name": (
        "same-name-twice.csv",
        f"{SURVEY}test_columns_with_the_same_name_are_refused_only_if_they_are_asked_for",
    ),
    "34 another encoding": (
        *("orcid-latin-1.csv", "named-encoding.csv", "utf-16.csv", "utf-16-big.csv", "utf-32.csv"),
        *(f"unnamed-encoding.{suffix}" for suffix in ("csv", "tsv", "json", "jsonl", "txt")),
        *(
            "letters-in-ascii.csv",
            "korean-in-ascii.csv",
            *("letters-in-hz.csv", "letters-in-utf-7.csv", "letters-in-utf-7-western.csv"),
            *("plus-signs-and-tildes.csv", "words-joined-by-plus-signs.csv"),
            "named-letters-in-ascii.csv",
            "colours-of-a-terminal.csv",
        ),
        "characters-in-halves.jsonl",
        f"{SURVEY}test_a_file_in_another_encoding_is_a_finding_before_anything_is_sent",
    ),
    "40 objects without an array": (
        *("several-on-a-line.jsonl", "glued-documents.json", "several-documents.json", "text-sequence.jsonl"),
        "commas-between-lines.jsonl",
    ),
    "44, 66 kept columns with names of fields": (
        f"{SURVEY}test_a_late_column_with_the_name_of_a_field_costs_its_row_and_an_early_one_the_run",
        f"{SURVEY}test_names_that_differ_only_in_capitals_are_not_both_kept",
    ),
    "45 line separators within texts": (
        "unicode-separators.csv",
        "docs/test_docs.py::test_lines_are_cut_at_newlines_only",
    ),
    "47 lists in the input column": (
        f"{SURVEY}test_lists_in_the_input_column_are_tokens_or_an_error",
        "prompts/test_batches.py::test_texts_and_lists_of_tokens_are_not_in_one_request",
    ),
    "55 pointers of Git LFS": tuple(
        f"lfs-pointer.{suffix}"
        for suffix in ("csv", "tsv", "json", "jsonl", "txt", "parquet", "arrow", "csv.gz", "txt.zst")
    ),
    "56 links that became files": ("link-target.csv", "annex-link.csv", "annex-pointer.jsonl"),
    "a page of a sign-in or an error in place of the file": (
        *(f"html-page.{suffix}" for suffix in ("csv", "tsv", "json", "jsonl", "parquet", "arrow", "csv.gz")),
        *("html-page-named.jsonl.gz", "html-page-named.jsonl.zst", "html-page-0.csv", "html-page-1.csv"),
        *("html-page.txt", "html-in-the-header.csv", "store-error.csv"),
    ),
    "the suffix of another text format": (
        *("json-lines.csv", "json-array.tsv", "cells.jsonl", "quoted-cells.ndjson"),
    ),
    "61 lines before the header": (
        *("comments-before-the-header.csv", "header-with-a-hash.csv", "title-before-the-header.csv"),
        "skipped-lines.csv",
    ),
    "62 no header": (
        "no-header.csv",
        f"{SURVEY}test_a_first_line_that_may_be_a_row_is_not_taken_for_the_header",
    ),
    "63 single quotes": ("single-quotes.csv", "apostrophes.csv"),
    "73 nested names": (f"{SURVEY}test_a_name_with_dots_means_a_value_within_a_cell",),
    "75 plain text in messages": (
        f"{SURVEY}test_plain_texts_in_messages_are_sent_only_if_the_column_is_named",
    ),
    "88 a map of records": (
        *("map-of-records.json", "map-of-uneven-records.json", "columns-by-a-named-index.json"),
    ),
    "an object of columns that is too large for memory": (
        "read/test_open.py::test_a_json_object_over_the_limit_is_refused_with_advice",
        "read/test_memory.py::test_a_large_json_object_is_refused_in_little_memory",
    ),
    "a ragged row that its owner has fixed": (
        "ragged.csv",
        "cli/test_cli_summary.py::test_the_next_command_works_after_the_input_is_fixed",
    ),
}
