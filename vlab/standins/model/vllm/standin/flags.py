"""The names of vLLM's flags, in the order of its usage, which its log of the given ones keeps too.

Source: the usage that vLLM 0.24.0 printed at an unknown argument. The recording lacks its middle:
from ``enable-offline-docs`` to ``num-gpu-blocks-override`` the names are those of vLLM's published
documentation, and one that is missing there would be refused here and not by vLLM. Marks: ``?`` has
a ``--no-`` form, ``!`` is a plain switch, ``+`` takes several values, ``#`` an integer, ``%`` a
number, anything else one word.
"""

FLAGS = """
headless! api-server-count# config grpc! lora-modules+ chat-template chat-template-content-format
trust-request-chat-template? default-chat-template-kwargs response-role return-tokens-as-token-ids?
enable-auto-tool-choice? exclude-tools-when-tool-choice-none? tool-call-parser tool-parser-plugin
tool-server log-config-file max-log-len# enable-prompt-tokens-details? enable-server-load-tracking?
enable-force-include-usage? enable-tokenizer-info-endpoint? enable-log-outputs? enable-log-deltas?
log-error-stack? tokens-only? fingerprint-mode fingerprint-value host port#
data-parallel-supervisor-port# dp-supervisor-probe-interval-s% dp-supervisor-probe-timeout-s%
dp-supervisor-probe-failure-threshold# uds uvicorn-log-level disable-uvicorn-access-log?
disable-access-log-for-endpoints allow-credentials? allowed-origins allowed-methods allowed-headers
api-key+ ssl-keyfile ssl-certfile ssl-ca-certs enable-ssl-refresh? ssl-cert-reqs# ssl-ciphers
root-path middleware enable-request-id-headers? disable-fastapi-docs? h11-max-incomplete-event-size#
h11-max-header-count# enable-offline-docs?
model runner convert tokenizer tokenizer-mode trust-remote-code? dtype seed# hf-config-path
allowed-local-media-path allowed-media-domains+ revision code-revision tokenizer-revision
max-model-len quantization allow-deprecated-quantization? enforce-eager?
enable-return-routed-experts? max-logprobs# logprobs-mode disable-sliding-window?
disable-cascade-attn? skip-tokenizer-init? enable-prompt-embeds? served-model-name+ config-format
hf-token hf-overrides pooler-config generation-config override-generation-config enable-sleep-mode?
model-impl override-attention-dtype logits-processors+ io-processor-plugin renderer-num-workers#
load-format download-dir safetensors-load-strategy model-loader-extra-config ignore-patterns+
use-tqdm-on-load? pt-load-map-location attention-backend reasoning-parser reasoning-parser-plugin
distributed-executor-backend pipeline-parallel-size# master-addr master-port# nnodes# node-rank#
tensor-parallel-size# decode-context-parallel-size# dcp-comm-backend prefill-context-parallel-size#
data-parallel-size# data-parallel-rank# data-parallel-start-rank# data-parallel-size-local#
data-parallel-address data-parallel-rpc-port# data-parallel-backend data-parallel-hybrid-lb?
data-parallel-external-lb? enable-expert-parallel? all2all-backend enable-dbo? ubatch-size#
enable-eplb? eplb-config expert-placement-strategy max-parallel-loading-workers#
ray-workers-use-nsight? disable-custom-all-reduce? worker-cls worker-extension-cls
block-size# gpu-memory-utilization% kv-cache-memory-bytes# kv-cache-dtype
num-gpu-blocks-override# enable-prefix-caching? prefix-caching-hash-algo calculate-kv-scales?
kv-cache-dtype-skip-layers+ kv-sharing-fast-prefill? mamba-cache-dtype mamba-ssm-cache-dtype
mamba-block-size# mamba-cache-mode kv-offloading-size% kv-offloading-backend offload-backend
cpu-offload-gb% cpu-offload-params+ offload-group-size# offload-num-in-group# offload-prefetch-step#
offload-params+ language-model-only? limit-mm-per-prompt enable-mm-embeds? media-io-kwargs
mm-processor-kwargs mm-processor-cache-gb% mm-processor-cache-type
mm-shm-cache-max-object-size-mb# mm-encoder-only? mm-encoder-tp-mode mm-encoder-attn-backend
mm-encoder-attn-dtype mm-encoder-fp8-scale-path mm-encoder-fp8-scale-save-path
mm-encoder-fp8-scale-save-margin% interleave-mm-strings? skip-mm-profiling? video-pruning-rate%
mm-tensor-ipc enable-lora? max-loras# max-lora-rank# lora-dtype enable-tower-connector-lora?
max-cpu-loras# fully-sharded-loras? lora-target-modules+ default-mm-loras specialize-active-lora?
enable-mixed-moe-lora-format? show-hidden-metrics-for-version otlp-traces-endpoint
collect-detailed-traces+ kv-cache-metrics? kv-cache-metrics-sample% cudagraph-metrics?
enable-layerwise-nvtx-tracing? enable-mfu-metrics? enable-logging-iteration-details?
jit-monitor-verbose? max-num-batched-tokens# max-num-seqs# max-num-partial-prefills#
max-long-partial-prefills# long-prefill-token-threshold# scheduling-policy enable-chunked-prefill?
disable-chunked-mm-input? scheduler-cls scheduler-reserve-full-isl? watermark%
prefill-schedule-interval# disable-hybrid-kv-cache-manager? async-scheduling? stream-interval#
cudagraph-capture-sizes+ max-cudagraph-capture-size# ir-op-priority enable-flashinfer-autotune?
moe-backend linear-backend speculative-config spec-method spec-model spec-tokens# diffusion-config
kv-transfer-config kv-events-config ec-transfer-config compilation-config attention-config
reasoning-config kernel-config additional-config structured-outputs-config profiler-config
optimization-level performance-mode weight-transfer-config disable-log-stats!
aggregate-engine-logging! fail-on-environ-validation? shutdown-timeout# gdn-prefill-backend
enable-log-requests?
"""

SHORT = {
    "tensor-parallel-size": "-tp",
    "pipeline-parallel-size": "-pp",
    "data-parallel-size": "-dp",
    "quantization": "-q",
}

DEFAULTS: dict[str, object] = {
    "model": "Qwen/Qwen3-0.6B",
    "port": 8000,
    "gpu-memory-utilization": 0.92,
    "tensor-parallel-size": 1,
    "pipeline-parallel-size": 1,
    "data-parallel-size": 1,
    "dtype": "auto",
    "seed": 0,
    "load-format": "auto",
    "tokenizer-mode": "auto",
    "kv-cache-dtype": "auto",
}
"""Of those whose default word or number is often given anyway; the others' is None."""
