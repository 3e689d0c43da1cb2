"""Asks with OpenAI's Python client as the jobs on standard input say, and prints what it saw of each answer.

The Go test that runs this knows what should be seen: see the struct `seen` there.
"""

import json
import os
import sys

import openai


def new_seen(model):
    return {"model": model, "content": "", "finish": "", "calls": None, "vectors": None, "chunks": 0, "empty": 0,
            "reports": 0, "prompt": 0, "completion": 0, "total": 0, "cached": 0}


def count(seen, usage):
    """Takes a chat's or a completion's usage, where there is one."""
    if usage is None:
        return
    seen["reports"] += 1
    seen["prompt"], seen["completion"], seen["total"] = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    seen["cached"] = usage.prompt_tokens_details.cached_tokens


def count_chunk(seen, chunk):
    seen["model"] = chunk.model
    seen["chunks"] += 1
    seen["empty"] += not chunk.choices
    count(seen, chunk.usage)


class Flows:
    def __init__(self, client, model, tools):
        self.client, self.model = client, model
        self.messages = [{"role": "user", "content": "hi"}]
        parameters = {"type": "object", "properties": {}}
        self.chat_tools = [
            {"type": "function", "function": {"name": name, "parameters": parameters}} for name in tools]
        self.response_tools = [
            {"type": "function", "name": name, "parameters": parameters, "strict": False} for name in tools]

    def run(self, flow, headers):
        run = {
            "chat": lambda: self.chat(headers),
            "chat stream": lambda: self.chat_stream(headers),
            "chat stream, include_usage": lambda: self.chat_stream(headers, stream_options={"include_usage": True}),
            "chat stream, include_usage false": lambda: self.chat_stream(headers, stream_options={"include_usage": False}),
            "chat tools": lambda: self.chat(headers, tools=self.chat_tools),
            "chat tools stream": lambda: self.chat_stream(headers, tools=self.chat_tools),
            "chat tools stream, include_usage": lambda: self.chat_stream(
                headers, tools=self.chat_tools, stream_options={"include_usage": True}),
            "completions stream": lambda: self.completion_stream(headers),
            "completions stream, include_usage": lambda: self.completion_stream(
                headers, stream_options={"include_usage": True}),
            "responses": lambda: self.response(headers),
            "responses stream": lambda: self.response_stream(headers),
            "responses tools stream": lambda: self.response_stream(headers, tools=self.response_tools),
            "embedding": lambda: self.embedding(headers, "hi"),
            "embeddings of a batch": lambda: self.embedding(headers, ["a", "b", "c"]),
        }[flow]
        return run()

    def chat(self, headers, **more):
        answer = self.client.chat.completions.create(
            model=self.model, messages=self.messages, extra_headers=headers, **more)
        seen = self.whole_chat(answer)
        count(seen, answer.usage)
        return seen

    def whole_chat(self, answer):
        seen = new_seen(answer.model)
        [choice] = answer.choices
        seen["content"], seen["finish"] = choice.message.content or "", choice.finish_reason
        if choice.message.tool_calls:
            seen["calls"] = [
                {"name": c.function.name, "arguments": c.function.arguments} for c in choice.message.tool_calls]
        return seen

    def chat_stream(self, headers, **more):
        """Reads with the client's own helper, which puts the chunks together."""
        counts = new_seen("")
        with self.client.chat.completions.stream(
                model=self.model, messages=self.messages, extra_headers=headers, **more) as stream:
            for event in stream:
                if event.type == "chunk":
                    count_chunk(counts, event.chunk)
            seen = self.whole_chat(stream.get_final_completion())
        for name in ("chunks", "empty", "reports", "prompt", "completion", "total", "cached"):
            seen[name] = counts[name]
        return seen

    def completion_stream(self, headers, **more):
        seen = new_seen("")
        for chunk in self.client.completions.create(
                model=self.model, prompt="hi", stream=True, extra_headers=headers, **more):
            count_chunk(seen, chunk)
            for choice in chunk.choices:
                seen["content"] += choice.text
                seen["finish"] = choice.finish_reason or ""
        return seen

    def whole_response(self, answer):
        seen = new_seen(answer.model)
        seen["content"], seen["finish"] = answer.output_text, answer.status
        seen["calls"] = [
            {"name": item.name, "arguments": item.arguments} for item in answer.output if item.type == "function_call"
        ] or None
        usage = answer.usage
        if usage is not None:
            seen["reports"], seen["cached"] = 1, usage.input_tokens_details.cached_tokens
            seen["prompt"], seen["completion"] = usage.input_tokens, usage.output_tokens
            seen["total"] = usage.total_tokens
        return seen

    def response(self, headers):
        return self.whole_response(self.client.responses.create(model=self.model, input="hi", extra_headers=headers))

    def response_stream(self, headers, **more):
        """Reads with the client's own helper, whose whole is put together from the deltas."""
        chunks = 0
        with self.client.responses.stream(model=self.model, input="hi", extra_headers=headers, **more) as stream:
            for _ in stream:
                chunks += 1
            seen = self.whole_response(stream.get_final_response())
        seen["chunks"] = chunks
        return seen

    def embedding(self, headers, texts):
        answer = self.client.embeddings.create(model=self.model, input=texts, extra_headers=headers)
        seen = new_seen(answer.model)
        seen["vectors"] = ["%.5f" % e.embedding[0] for e in answer.data]
        seen["reports"], seen["prompt"], seen["total"] = 1, answer.usage.prompt_tokens, answer.usage.total_tokens
        return seen


def main():
    if openai.__version__ != os.environ["EXPECTED_VERSION"]:
        sys.exit("this is version %s of the client, not %s" % (openai.__version__, os.environ["EXPECTED_VERSION"]))
    order = json.load(sys.stdin)
    client = openai.OpenAI(base_url=order["url"], api_key="k", max_retries=0, timeout=300)
    flows = Flows(client, order["model"], order["tools"])
    outcomes = []
    for job in order["jobs"]:
        try:
            outcomes.append({"seen": flows.run(job["flow"], job["headers"])})
        except Exception as e:  # whatever it is, the test shows it beside the flow
            outcomes.append({"error": "%s: %s" % (type(e).__name__, e)})
    json.dump(outcomes, sys.stdout)


main()
