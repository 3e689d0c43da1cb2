"""Asks once for a stream with an official Python client, as it is without settings, and prints the error, if any.

Arguments: what is asked (chat, responses, messages), the URL, the request's headers as JSON.
"""

import json
import sys

what, url, headers = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
messages = [{"role": "user", "content": "hi"}]


def ask():
    if what == "messages":
        import anthropic
        client = anthropic.Anthropic(base_url=url, api_key="k", default_headers=headers)
        return client.messages.create(model="llama-3", max_tokens=1000000, messages=messages, stream=True)
    import openai
    client = openai.OpenAI(base_url=url + "/v1", api_key="k", default_headers=headers)
    if what == "chat":
        return client.chat.completions.create(model="llama-3", messages=messages, stream=True)
    return client.responses.create(model="llama-3", input="hi", stream=True)


try:
    for _ in ask():
        pass
    print(json.dumps(""))
except Exception as e:
    print(json.dumps(f"{type(e).__name__} {e}"))
