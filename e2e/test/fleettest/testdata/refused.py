"""Asks with an official Python client, and prints the class of its error, its status and how long it is told to wait.

Arguments: the module, the URL, the user.
"""

import sys

module, url, user = sys.argv[1:]
messages = [{"role": "user", "content": "hi"}]
settings = {"api_key": "k", "default_headers": {"x-user-id": user}, "max_retries": 0}
if module == "openai":
    import openai
    client, errors = openai.OpenAI(base_url=url + "/v1", **settings), openai
    ask = lambda: client.chat.completions.create(model="mock", messages=messages)
else:
    import anthropic
    client, errors = anthropic.Anthropic(base_url=url, **settings), anthropic
    ask = lambda: client.messages.create(model="mock", max_tokens=100, messages=messages)
try:
    ask()
except errors.RateLimitError as e:
    print(type(e).__name__, e.status_code, e.response.headers.get("retry-after"))
