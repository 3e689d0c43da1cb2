package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/e2e/support/freeport"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// The processor of Envoy AI Gateway can't be fetched by `make`, so it is named; leftOut names none.
const (
	processorVariable = "AI_GATEWAY_EXTPROC"
	leftOut           = "none"
	litellmVariable   = "SPILLWAY_LITELLM" // the folder of its Python packages
	processorCluster  = "ai-gateway"
)

// findPeers finds what is compared; the error says what is missing.
func (b *bench) findPeers(ctx context.Context) error {
	packages := os.Getenv(litellmVariable)
	version, err := litellmVersion(ctx, packages)
	if err != nil {
		return err
	}
	b.peers = []*peer{
		b.envoyPeer(bare, "bare Envoy", "Envoy "+b.envoyVersion, "the router only: the floor", bareVariant(), nil),
		b.envoyPeer("spillway", "Spillway", "", "Envoy with this filter and one limit, `completionTokens/1h` for each `x-user-id`",
			limited(limitedOnce, "", plenty, "completionTokens/1h"), func(ctx context.Context, g *gateway) (int, error) {
				c, err := g.envoy.counters(ctx)
				return int(c.sum("wasmcustom.spillway_tokens_total;type=output;source=reported")), err
			}),
	}
	processor := os.Getenv(processorVariable)
	switch processor {
	case "":
		return errors.New(processorVariable + " must name Envoy AI Gateway's external processor, a program that its makers publish as an image; " +
			processorVariable + "=" + leftOut + " compares the others")
	case leftOut:
	default:
		p, err := b.aiGateway(ctx, processor)
		if err != nil {
			return err
		}
		b.peers = append(b.peers, p)
	}
	b.peers = append(b.peers,
		litellm("litellm", "LiteLLM, nothing to limit", version, packages, "unlimited",
			"`num_workers` 1, no database; `custom_auth` takes the caller from `x-user-id`, and gives it no limit"),
		litellm("litellm-limit", "LiteLLM, a limit", version, packages, "limited",
			"the same, and a `tpm_limit` for each caller, of all tokens, kept in its memory"))
	return nil
}

func bareVariant() *variant {
	return &variant{name: bare, adapt: func(config *envoyproc.Bootstrap, _ *bench) { config.RemoveWasm() }}
}

// envoyPeer is an Envoy with or without a filter, and no other process.
func (b *bench) envoyPeer(name, label, version, setup string, v *variant, counted func(context.Context, *gateway) (int, error)) *peer {
	return &peer{
		name: name, label: label, version: version, setup: setup, counted: counted,
		start: func(ctx context.Context, b *bench, g *gateway) (err error) {
			if g.envoy, err = b.startEnvoy(ctx, v, 1, manyClients); err == nil {
				g.url = g.envoy.gateway
			}
			return err
		},
	}
}

// aiGateway is Envoy with the external processor of Envoy AI Gateway, as its controller configures both.
func (b *bench) aiGateway(ctx context.Context, processor string) (*peer, error) {
	path, err := exec.LookPath(processor)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", processorVariable, err)
	}
	version, err := b.processorVersion(ctx, path)
	if err != nil {
		return nil, err
	}
	return &peer{
		name: "ai-gateway", label: "Envoy AI Gateway", version: version,
		setup: "Envoy calls its external processor over a Unix socket, for the request and, from the upstream's filters, for the backend; " +
			"`globalLLMRequestCosts` of type `OutputToken`. It counts; the limit would be a rate limit service's, which isn't there",
		counted: processorTokens,
		start: func(ctx context.Context, b *bench, g *gateway) error {
			socket := filepath.Join(g.dir, "extproc.sock")
			config, err := json.Marshal(map[string]any{
				"version":               version,
				"globalLLMRequestCosts": []any{map[string]any{"metadataKey": "output_tokens", "type": "OutputToken"}},
				"backends":              []any{map[string]any{"name": "llm", "schema": map[string]any{"name": "OpenAI"}}},
			})
			if err == nil {
				err = os.WriteFile(filepath.Join(g.dir, "config.yaml"), config, 0o600)
			}
			var port int
			if err == nil {
				port, err = freeport.Take()
			}
			if err == nil {
				g.admin = fmt.Sprintf("http://127.0.0.1:%d", port)
				err = g.run("extproc", nil, path, "-configPath", filepath.Join(g.dir, "config.yaml"),
					"-extProcAddr", "unix://"+socket, "-adminPort", strconv.Itoa(port), "-logLevel", "warn")
			}
			if err != nil {
				return err
			}
			v := &variant{name: "ai-gateway", adapt: func(config *envoyproc.Bootstrap, _ *bench) { callProcessor(config, socket) }}
			if g.envoy, err = b.startEnvoy(ctx, v, 1, manyClients); err == nil {
				g.url = g.envoy.gateway
			}
			return err
		},
	}, nil
}

var loggedVersion = regexp.MustCompile(`version=("[^"]*"|\S+)`)

// processorVersion is what the processor says that it is, in the first line of its log: its configuration must say the same.
func (b *bench) processorVersion(ctx context.Context, path string) (string, error) {
	log, _ := exec.CommandContext(ctx, path, "-configPath", filepath.Join(b.dir, "none.yaml"),
		"-extProcAddr", "unix://"+filepath.Join(b.dir, "none.sock"), "-adminPort", "0").CombinedOutput() // ends, having no configuration
	match := loggedVersion.FindSubmatch(log)
	if match == nil {
		return "", fmt.Errorf("%s=%q does not look like Envoy AI Gateway's external processor: it says %s", processorVariable, path, log)
	}
	return strings.Trim(string(match[1]), `"`), nil
}

// callProcessor puts the external processor where the controller of Envoy AI Gateway puts it.
func callProcessor(config *envoyproc.Bootstrap, socket string) {
	const (
		types     = "type.googleapis.com/envoy.extensions.filters.http."
		options   = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
		namespace = "aigateway.envoy.io"
	)
	filter := func(name, kind string, more map[string]any) map[string]any {
		typed := map[string]any{"@type": types + kind}
		for key, value := range more {
			typed[key] = value
		}
		return map[string]any{"name": name, "typed_config": typed}
	}
	external := func(mode map[string]any, more map[string]any) map[string]any {
		settings := map[string]any{
			"grpc_service":        map[string]any{"envoy_grpc": map[string]any{"cluster_name": processorCluster}, "timeout": "30s"},
			"processing_mode":     mode,
			"message_timeout":     "10s",
			"allow_mode_override": true,
			"metadata_options":    map[string]any{"receiving_namespaces": map[string]any{"untyped": []any{"io.envoy.ai_gateway"}}},
		}
		for key, value := range more {
			settings[key] = value
		}
		return filter("envoy.filters.http.ext_proc", "ext_proc.v3.ExternalProcessor", settings)
	}
	config.InsertAfterWasm(external(map[string]any{
		"request_header_mode": "SEND", "request_body_mode": "BUFFERED", "response_header_mode": "SEND", "response_body_mode": "BUFFERED",
	}, nil))
	config.RemoveWasm()
	upstream := []any{"static_resources", "clusters", envoyproc.Named("llm")}
	attribute := func(of string) string {
		return "xds." + of + ".filter_metadata['" + namespace + "']['per_route_rule_backend_name']"
	}
	config.Set([]any{
		external(map[string]any{
			"request_header_mode": "SEND", "request_body_mode": "NONE", "response_header_mode": "SKIP", "response_body_mode": "NONE",
		}, map[string]any{"request_attributes": []any{attribute("upstream_host_metadata"), attribute("cluster_metadata")}}),
		filter("envoy.filters.http.header_mutation", "header_mutation.v3.HeaderMutation", map[string]any{
			"mutations": map[string]any{"request_mutations": []any{map[string]any{"append": map[string]any{
				"append_action": "ADD_IF_ABSENT",
				"header":        map[string]any{"key": "content-length", "value": "%DYNAMIC_METADATA(io.envoy.ai_gateway:content_length)%"},
			}}}},
		}),
		filter("envoy.filters.http.upstream_codec", "upstream_codec.v3.UpstreamCodec", nil),
	}, append(upstream, "typed_extension_protocol_options", options, "http_filters")...)
	config.Set(map[string]any{"filter_metadata": map[string]any{namespace: map[string]any{"per_route_rule_backend_name": "llm"}}},
		append(upstream, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "metadata")...)
	config.AddClusters(map[string]any{
		"name": processorCluster, "type": "STATIC", "connect_timeout": "5s",
		"load_assignment": map[string]any{"cluster_name": processorCluster, "endpoints": []any{map[string]any{"lb_endpoints": []any{
			map[string]any{"endpoint": map[string]any{"address": map[string]any{"pipe": map[string]any{"path": socket}}}},
		}}}},
		"typed_extension_protocol_options": map[string]any{options: map[string]any{
			"@type":                "type.googleapis.com/" + options,
			"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
		}},
	})
}

// processorTokens is what the processor's metrics say.
func processorTokens(ctx context.Context, g *gateway) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask the external processor for its metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		return 0, err
	}
	return outputTokens(text.String())
}

// outputTokens adds up the output tokens of OpenTelemetry's histogram of tokens, in Prometheus's format.
func outputTokens(metrics string) (total int, err error) {
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "gen_ai_client_token_usage") || !strings.Contains(line, "_sum{") ||
			!strings.Contains(line, `gen_ai_token_type="output"`) {
			continue
		}
		fields := strings.Fields(line)
		value, failure := strconv.ParseFloat(fields[len(fields)-1], 64)
		total, err = total+int(value), errors.Join(err, failure)
	}
	return total, err
}

//go:embed testdata/litellm/auth.py
var litellmAuth []byte

// litellmVersion is that of the packages in a folder.
func litellmVersion(ctx context.Context, packages string) (string, error) {
	if packages == "" {
		return "", errors.New(litellmVariable + " must name the folder of LiteLLM's packages: `make bench-peers` sets it")
	}
	ask := exec.CommandContext(ctx, "python3", "-c", "import importlib.metadata as m; print(m.version('litellm'))")
	ask.Env = append(os.Environ(), "PYTHONPATH="+packages)
	version, err := ask.Output()
	if err != nil {
		return "", fmt.Errorf("no LiteLLM at %q: run `make litellm` to fetch it: %w", packages, err)
	}
	return strings.TrimSpace(string(version)), nil
}

// litellm is LiteLLM's proxy with one of the functions of testdata/litellm/auth.py.
func litellm(name, label, version, packages, auth, setup string) *peer {
	p := &peer{
		name: name, label: label, version: version, setup: setup,
		start: func(_ context.Context, b *bench, g *gateway) error {
			port, err := freeport.Take()
			if err != nil {
				return err
			}
			g.url = fmt.Sprintf("http://127.0.0.1:%d", port)
			config, err := json.Marshal(map[string]any{
				"model_list": []any{map[string]any{"model_name": "llama-3", "litellm_params": map[string]any{
					"model": "openai/llama-3", "api_base": "http://" + b.upstream.address + "/v1", "api_key": "none",
				}}},
				// Else it fetches the tokenizer of a model that has llama-3 in its name, to estimate a prompt by.
				"litellm_settings": map[string]any{"disable_hf_tokenizer_download": true},
				"general_settings": map[string]any{
					"custom_auth":                       "auth." + auth,
					"forward_client_headers_to_llm_api": true, // the upstream goes by headers of the load generator's
				},
			})
			if err == nil {
				err = errors.Join(os.WriteFile(filepath.Join(g.dir, "config.yaml"), config, 0o600),
					os.WriteFile(filepath.Join(g.dir, "auth.py"), litellmAuth, 0o600))
			}
			if err != nil {
				return err
			}
			return g.run("litellm", []string{
				"PYTHONPATH=" + packages, "LITELLM_MODE=PRODUCTION", "LITELLM_LOG=ERROR",
				"LITELLM_LOCAL_MODEL_COST_MAP=True",    // else it fetches one from the internet when it starts
				"LITELLM_MASTER_KEY=sk-" + rand.Text(), // it starts with none only where it is told that this is dangerous
			}, "python3", filepath.Join(packages, "bin", "litellm"), "--config", filepath.Join(g.dir, "config.yaml"),
				"--host", "127.0.0.1", "--port", strconv.Itoa(port), "--num_workers", "1", "--telemetry", "False")
		},
	}
	if auth == "limited" {
		p.prove = refusesThePoor
	}
	return p
}

// refusesThePoor: a caller with next to no tokens is refused before long.
func refusesThePoor(ctx context.Context, b *bench, g *gateway) error {
	const tries = 5
	for range tries {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.client.url, bytes.NewReader(b.peerUnary.body))
		if err != nil {
			return err
		}
		request.Header.Set("content-type", "application/json")
		request.Header.Set("x-user-id", "poor")
		request.Header.Set(workloadHeader, b.peerUnary.name)
		response, err := g.client.http.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusTooManyRequests {
			return nil
		}
	}
	return fmt.Errorf("%d requests of a caller who has tokens for less than one were answered: the limit isn't there", tries)
}

// command is a program that runs in a folder, with more in its environment.
func command(dir string, log *os.File, environment []string, program string, args ...string) *exec.Cmd {
	c := exec.Command(program, args...)
	c.Dir, c.Env, c.Stdout, c.Stderr = dir, append(os.Environ(), environment...), log, log
	return c
}
