// Package llmsim is a simulated LLM inference server: it speaks the
// OpenAI-compatible HTTP API of an engine such as vLLM, Anthropic's Messages and
// Ollama's chats and prompts included, and answers with made-up tokens at a scripted pace. Demos, end-to-end tests and benchmarks put it where
// the real upstream would be.
//
// The latency of an answer follows the two figures that inference servers are
// measured by: TTFT, the time to the first token, and ITL, the inter-token
// latency. A bounded number of slots stands for the engine's batch, with a FIFO
// queue in front of it.
//
// Each request may script its own answer with x-sim-* headers: see WriteHeaderHelp
// for the list. A header that the simulator does not know, or cannot read, is
// answered with 400, so that a typing error in a test never passes as a default.
//
// The simulator trusts its callers: it belongs on a loopback or test network.
package llmsim
