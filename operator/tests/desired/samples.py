"""Custom resources that the golden files cover, from the shortest to one that uses every field."""

from typing import Any

SAMPLES: dict[str, dict[str, Any]] = {
    "shortest": {"model": {"uri": "hf://meta-llama/Llama-2-7b-chat-hf"}},
    "claim": {
        "model": {"uri": "pvc://models/llama/7b", "name": "Llama.7B"},
        "engine": {"tensorParallelSize": 2, "pipelineParallelSize": 2, "maxModelLen": 4096},
        "replicas": 3,
    },
    "stock-image": {"model": {"uri": "hf://Qwen/Qwen2.5-0.5B-Instruct@main"}, "server": {"release": "26.07"}},
    "every-field": {
        "model": {
            "uri": "hf://meta-llama/Llama-3.1-8B-Instruct",
            "name": "llama",
            "revision": "5206a32e0bd3067aef1ce90f5528ade7d866253f",
            "tokenSecretRef": {"name": "huggingface", "key": "hf"},
        },
        "engine": {
            "gpuMemoryUtilization": 0.85,
            "tensorParallelSize": 4,
            "pipelineParallelSize": 1,
            "maxModelLen": 8192,
            "dtype": "bfloat16",
            "quantization": "fp8",
            "kvCacheDtype": "fp8",
            "blockSize": 32,
            "maxNumSeqs": 64,
            "maxNumBatchedTokens": 2048,
            "enablePrefixCaching": False,
            "enableChunkedPrefill": True,
            "enforceEager": True,
            "seed": 7,
            "loadFormat": "safetensors",
            "extraArgs": {"enable_log_requests": True, "limit_mm_per_prompt": {"image": 2}},
        },
        "sampling": {
            "defaults": {
                "temperature": 0.7,
                "topP": 0.9,
                "topK": 40,
                "minP": 0.05,
                "repetitionPenalty": 1.1,
                "presencePenalty": 0.5,
                "frequencyPenalty": -0.5,
                "maxTokens": 256,
                "minTokens": 1,
                "stop": ["END", 'a "quote"'],
                "seed": 7,
            },
            "profiles": [{"name": "exact", "temperature": 0}, {"name": "brief", "maxTokens": 16}],
        },
        "server": {
            "image": "registry.example/triton-vllm:vllm-0.32.0",
            "release": "vllm-0.32.0",
            "logLevel": "Error",
            "drainSeconds": 120,
            "requestTimeoutSeconds": 90,
            "limits": {
                "maxPromptBytes": 65536,
                "maxBodyBytes": 1048576,
                "maxN": 4,
                "maxList": 64,
                "maxLogprobs": 5,
                "maxImages": 0,
            },
            "startupChecks": [
                {"name": "sum", "prompt": "2+2=", "maxTokens": 2, "pattern": "4", "maxSeconds": 5},
                {"name": "speed", "prompt": "Once upon a time", "minTokensPerSecond": 20.5},
            ],
            "openAI": {
                "enabled": True,
                "apiKeySecretRef": {"name": "clients", "key": "api-key"},
                "modelAliases": ["org/llama"],
                "mediaDomains": ["*.example.com", "10.96.0.0/12"],
                "extraArgs": {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"},
            },
            "extraArgs": ["--http-thread-count=16"],
        },
        "resources": {
            "gpu": {"resourceName": "nvidia.com/gpu", "product": "NVIDIA-H100-80GB-HBM3"},
            "cpu": "8",
            "memory": "64Gi",
            "sharedMemory": "8Gi",
            "ephemeralStorage": "100Gi",
        },
        "replicas": 2,
        "scheduling": {
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "pool", "value": "gpu", "effect": "NoSchedule"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                        ]
                    }
                }
            },
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
            "priorityClassName": "serving",
            "runtimeClassName": "nvidia",
            "schedulerName": "gang",
        },
        "podTemplate": {
            "labels": {"team": "search"},
            "annotations": {"note": "x"},
            "env": [{"name": "HF_HOME", "value": "/data/hf"}, {"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}],
            "envFrom": [{"configMapRef": {"name": "proxy"}}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "hf-cache"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "imagePullSecrets": [{"name": "registry"}],
            "serviceAccountName": "reader",
        },
        "service": {
            "type": "LoadBalancer",
            "annotations": {"lb": "internal"},
            "ports": {"grpc": False, "metrics": False},
            "disruptionBudget": {"enabled": True, "maxUnavailable": 2},
        },
    },
}


def resource(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A whole LLMDeployment as the API server would return it."""
    return {
        "apiVersion": "serving.triton-vllm.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": "7f1f5ab5-34b2-4d0c-8d6f-8c3b3a3d2f10",
            "generation": 1,
            "resourceVersion": "10",
        },
        "spec": spec,
    }
