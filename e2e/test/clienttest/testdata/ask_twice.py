"""Asks twice with an official Python client, as it is without settings, and prints the error of each time, if any.

Arguments: the module, the URL, the user, the limit.
"""

import json
import sys

module, url, user, limit = sys.argv[1:]
messages = [{"role": "user", "content": "hi"}]
headers = {"x-user-id": user, "traceparent": user, "x-limit": limit}


def ask():
    if module == "openai":
        import openai
        client = openai.OpenAI(base_url=url + "/v1", api_key="k", default_headers=headers)
        client.chat.completions.create(model="llama-3", messages=messages)
    else:
        import anthropic
        client = anthropic.Anthropic(base_url=url, api_key="k", default_headers=headers)
        client.messages.create(model="llama-3", max_tokens=100, messages=messages)


errors = []
for _ in range(2):
    try:
        ask()
        errors.append("")
    except Exception as e:
        errors.append(f"{getattr(e, 'status_code', '')} {e}")
print(json.dumps(errors))
