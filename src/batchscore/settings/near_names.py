"""Which setting does a name mean that is not one: is it misspelled, or the word of another tool?"""

from __future__ import annotations

import difflib
from collections.abc import Collection

#: Setting → names that users give it.
_OTHER_NAMES = {
    "max_spend": "budget cost max_cost max_price spend spend_limit cost_limit budget_limit max_budget "
    "price_limit",
    "limit": "rows max_rows limit_rows row_limit num_rows n_rows nrows n sample samples max_samples head "
    "first top",
    "max_outage": "outage outage_patience outage_timeout patience max_downtime",
    "max_concurrency": "workers max_workers num_workers threads parallel parallelism jobs connections",
    "max_retries": "retry retries attempts max_attempts tries",
    "max_tokens": "max_completion_tokens max_output_tokens max_new_tokens",
    "sheet": "sheet_name worksheet tab",
    "endpoint": "url base_url api_base host server azure_endpoint api_url",
    "api_version": "version",
    "output": "out output_dir out_dir output_folder output_file out_file dest destination",
    "system": "system_prompt system_message instructions",
    "prompt": "template user_prompt prompt_template",
    "column": "text_column input_column text_col col",
    "id": "id_column id_col key_column",
    "messages": "messages_file",
    "delimiter": "sep separator",
    "rpm": "rate_limit requests_per_minute max_rpm",
    "tpm": "tokens_per_minute max_tpm",
    "prices": "price_file prices_file",
    "error_threshold": "max_error_rate error_rate",
    "schema": "json_schema response_schema",
    "simulate": "dry_run mock fake",
}
NAMES_OF_OTHERS = {name: setting for setting, names in _OTHER_NAMES.items() for name in names.split()}

#: Names of an API key, whose place is the environment.
KEY_NAMES = frozenset({"key", "api_key", "apikey", "token", "api_token", "openai_api_key", "azure_api_key"})

#: Parameters of APIs that are not settings of ours.
_PARAMETERS = """audio background best_of data_sources echo frequency_penalty function_call functions include
logit_bias logprobs max_completion_tokens max_output_tokens max_tool_calls metadata min_p modalities
parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning repetition_penalty
response_format safety_identifier service_tier store suffix text tool_choice tools top_k top_logprobs
truncation user verbosity web_search_options n"""
REQUEST_PARAMETERS = frozenset(_PARAMETERS.split())


def near_name(name: str, known: Collection[str], cutoff: float = 0.6) -> str | None:
    """Return the known setting that a name most likely means; hyphens count as underscores.

    A parameter of the API is not misspelled, however similar a setting is.
    """
    plain = name.lower().replace("-", "_")
    if plain in NAMES_OF_OTHERS:
        return NAMES_OF_OTHERS[plain] if NAMES_OF_OTHERS[plain] in known else None
    if plain in REQUEST_PARAMETERS:
        return None
    near = difflib.get_close_matches(plain, known, n=1, cutoff=cutoff)
    if near:
        return near[0]
    words = [word for word in map(NAMES_OF_OTHERS.get, plain.split("_")) if word in known]
    words += [word for word in plain.split("_") if word in known]
    return words[0] if words else None
