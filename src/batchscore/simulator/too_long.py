"""How does each service say that an input is longer than its model takes?

It must not know requests. Statuses, texts and shapes are those of public reports (issues of litellm, vllm,
llama.cpp, ollama, text-embeddings-inference, gemini-cli, semantic-router and others) and of the services'
own code and pages, seen 2026.
"""

# A body a line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

#: Status and body. `{limit}` is the most, `{tokens}` those of the input, `{place}` its place in the request.
_REPLIES = {
    "openai": (400, r"""{"error":{"message":"Invalid 'input[{place}]': maximum input length is {limit} tokens.","type":"invalid_request_error","param":null,"code":null}}"""),
    "openai_chat": (400, r"""{"error":{"message":"Input tokens exceed the configured limit of {limit} tokens. Your messages resulted in {tokens} tokens. Please reduce the length of the messages.","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}"""),
    "openai_before": (400, r"""{"error":{"message":"This model's maximum context length is {limit} tokens, however you requested {tokens} tokens ({tokens} in your prompt; 0 for the completion). Please reduce your prompt; or completion length.","type":"invalid_request_error","param":null,"code":null}}"""),
    "vllm": (400, r"""{"error":{"message":"You passed {tokens} input tokens and requested 0 output tokens. However, the model's context length is only {limit} tokens, resulting in a maximum input length of {limit} tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={tokens})","type":"BadRequestError","param":null,"code":null}}"""),
    "vllm_before": (400, r"""{"error":{"message":"This model's maximum context length is {limit} tokens. However, you requested {tokens} tokens in the input for embedding generation. Please reduce the length of the input.","type":"BadRequestError","param":null,"code":null}}"""),
    "vllm_chat": (400, r"""{"error":{"message":"'max_tokens' or 'max_completion_tokens' is too large: 16. This model's maximum context length is {limit} tokens and your request has {tokens} input tokens (16 > {limit} - {tokens}).","type":"BadRequestError","param":null,"code":400}}"""),
    "sglang": (400, r"""{"error":{"message":"The input ({tokens} tokens) is longer than the model's context length ({limit} tokens).","type":"BadRequestError","param":null,"code":null}}"""),
    "ollama": (400, r"""{"error":{"message":"the input length exceeds the context length","type":"api_error","param":null,"code":null}}"""),
    "litellm": (400, r"""{"error":{"message":"litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: OpenAIException - Invalid 'input[{place}]': maximum input length is {limit} tokens.. Received Model Group=m\nAvailable Model Group Fallbacks=None","type":null,"param":null,"code":"400"}}"""),
    "litellm_vllm": (400, r"""{"error":{"message":"litellm.BadRequestError: Hosted_vllmException - You passed {tokens} input tokens and requested 0 output tokens. However, the model's context length is only {limit} tokens. Received Model Group=m","type":null,"param":null,"code":"400"}}"""),
    "openrouter": (400, r"""{"error":{"message":"This endpoint's maximum context length is {limit} tokens. However, you requested about {tokens} tokens ({tokens} of text input). Please reduce the length of either one, or use the \"middle-out\" transform.","type":null,"param":null,"code":null}}"""),
    "groq": (400, r"""{"error":{"message":"Please reduce the length of the messages or completion. Current length is {tokens} while limit is {limit}","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}"""),
    "dashscope": (400, r"""{"error":{"message":"<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, {limit}]","type":"invalid_request_error","param":null,"code":"invalid_parameter_error"}}"""),
    "moonshot": (400, r"""{"error":{"message":"Invalid request: Your request exceeded model token limit: {limit} (requested: {tokens})","type":"invalid_request_error","param":null,"code":null}}"""),
    "xai": (400, r"""{"error":{"message":"This model's maximum prompt length is {limit} but the request contains {tokens} tokens.","type":"invalid_request_error","param":null,"code":null}}"""),
    "anthropic": (400, r"""{"error":{"message":"prompt is too long: {tokens} tokens > {limit} maximum","type":"invalid_request_error","param":null,"code":null}}"""),
    "bedrock": (400, r"""{"error":{"message":"Too many input tokens. Max input tokens: {limit}, request input token count: {tokens}","type":null,"param":null,"code":null}}"""),
    "fireworks": (400, r"""{"error":{"message":"The prompt is too long: {tokens}, model maximum context length: {limit}","type":"invalid_request_error","param":null,"code":null}}"""),
    "together": (422, r"""{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {limit}. Given: {tokens} `inputs` tokens and 0 `max_new_tokens`","type":"invalid_request_error","param":null,"code":null}}"""),
    "llama_cpp": (400, r"""{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":{tokens},"n_ctx":{limit}}}"""),
    "llama_cpp_embeddings": (500, r"""{"error":{"code":500,"message":"input ({tokens} tokens) is too large to process. increase the physical batch size (current batch size: {limit})","type":"server_error"}}"""),
    "ollama_native": (500, r"""{"error":"input length exceeds maximum context length"}"""),
    "gemini": (400, r"""[{"error":{"code":400,"message":"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit}).","status":"INVALID_ARGUMENT"}}]"""),
    "vertex": (400, r"""{"error":{"code":400,"message":"Unable to submit request because the input token count is {tokens} but model only supports up to {limit}. Reduce the input token count and try again.","status":"INVALID_ARGUMENT"}}"""),
    "mistral": (400, r"""{"object":"error","message":"Input id {place} has {tokens} tokens, exceeding max {limit} tokens.","type":"invalid_request_prompt","param":null,"code":"3210"}"""),
    "mistral_chat": (400, r"""{"object":"error","message":"Prompt contains {tokens} tokens and 0 draft tokens, too large for model with {limit} maximum context length","type":"invalid_request_prompt","param":null,"code":"3051"}"""),
    "cohere": (400, r"""{"message":"too many tokens: total number of tokens in the prompt cannot exceed {limit} - received {tokens}. Try using a shorter prompt."}"""),
    "databricks": (400, r"""{"error_code":"BAD_REQUEST","message":"{\"error_code\":\"BAD_REQUEST\",\"message\":\"Bad request: rpc error: code = InvalidArgument desc = prompt token count ({tokens}) cannot exceed {limit}. Please reduce the length of your prompt.\"}"}"""),
    "databricks_embeddings": (400, r"""{"error_code":"BAD_REQUEST","message":"Input embeddings data length of {tokens} tokens exceeds the max token limit of {limit}."}"""),
    "voyage": (400, r"""{"detail":"Request to model 'voyage-3' failed. The example at index {place} in your batch has too many tokens and does not fit into the model's context window of {limit} tokens. Please lower the number of tokens in the listed example(s) or use truncation."}"""),
    "nim": (400, r"""{"object":"error","message":"Input length {tokens} exceeds maximum allowed token size {limit}","detail":{},"type":"invalid_request_error"}"""),
    "tei": (413, r"""{"message":"Input validation error: `inputs` must have less than {limit} tokens. Given: {tokens}","code":413,"type":"Validation"}"""),
    "tei_native": (413, r"""{"error":"Input validation error: `inputs` must have less than {limit} tokens. Given: {tokens}","error_type":"Validation"}"""),
    "fastapi": (422, r"""{"detail":[{"loc":["body","input",0],"msg":"Value error, input has {tokens} tokens, exceeding the maximum context length of {limit}","type":"value_error"}]}"""),
    "bedrock_titan": (400, r"""{"error":{"message":"Malformed input request: expected maxLength: {limit}, actual: {tokens}, please reformat your input and try again.","type":"ValidationException","param":null,"code":null}}"""),
    "llama_cpp_python": (400, r"""{"error":{"message":"Requested tokens ({tokens}) exceed context window of {limit}","type":"internal_server_error","param":null,"code":null}}"""),
    "vllm_length": (400, r"""{"object":"error","message":"prompt length {tokens} > max_model_len {limit}","type":"BadRequestError","param":null,"code":400}"""),
    "infinity": (422, r"""{"error":{"message":"number of tokens {tokens} exceeds limit {limit}","type":null,"param":null,"code":422}}"""),
    "transformers": (400, r"""{"error":"Token indices sequence length is longer than the specified maximum sequence length for this model ({tokens} > {limit})"}"""),
    "watsonx": (400, r"""{"errors":[{"code":"invalid_input_argument","message":"Invalid input argument for Model: the number of input tokens {tokens} cannot exceed the total tokens limit {limit} for this model"}]}"""),
    "plain": (400, r"""{"error":{"message":"Your input exceeds the maximum length of {limit}","type":"invalid_request_error","param":null,"code":null}}"""),
    "jina": (400, r"""{"detail":"Single text cannot exceed {limit} tokens. {tokens} tokens given."}"""),
}

#: The names of all wordings.
WORDINGS = tuple(_REPLIES)


def check_wording(name: str | None) -> None:
    """Raise ValueError if there is no such wording."""
    if name is not None and name not in WORDINGS:
        raise ValueError(f"wording must be one of {', '.join(WORDINGS)}, not {name!r}")


def too_long(wording: str, *, limit: int, tokens: int, place: int = 0) -> tuple[int, bytes]:
    """Return the status and body of a service's reply to an input of `tokens` where `limit` is the most."""
    status, body = _REPLIES[wording]
    for name, value in (("limit", limit), ("tokens", tokens), ("place", place)):
        body = body.replace(f"{{{name}}}", str(value))
    return status, body.encode()
