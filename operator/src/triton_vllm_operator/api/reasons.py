"""Registry of reasons: every reason of a condition, an event, status.plan or an answer of the admission webhook.

docs/troubleshooting.md is generated from it by `make gen`. To add a reason, add a member here and use it in the module
that produces it.
"""

from enum import StrEnum


class Kind(StrEnum):
    """What a reason means for an LLMDeployment that is not ready."""

    STALLED = "stalled"
    """Nothing changes until the user acts: the condition Stalled is True."""
    PROGRESSING = "progressing"
    """It is expected to go away by itself: the condition Reconciling is True."""
    INFORMATIVE = "informative"
    """It does not keep pods from serving."""


class Reason(StrEnum):
    """Reason of a condition, in CamelCase.

    Attributes:
        kind: whether the user has to act.
        meaning: what happened, in one sentence.
        fix: what to do about it; "" if there is nothing to do.
    """

    kind: Kind
    meaning: str
    fix: str

    def __new__(cls, value: str, kind: Kind, meaning: str, fix: str = "") -> "Reason":
        """Create a member; Python calls this once for each row below."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.kind, member.meaning, member.fix = kind, meaning, fix
        return member

    @classmethod
    def parse(cls, text: object) -> "Reason | None":
        """Return the reason that is written `text`, or None if it is not registered."""
        return next((reason for reason in cls if reason == text), None)

    # What the operator did not see yet, and its own errors.
    PENDING = (
        "Pending",
        Kind.PROGRESSING,
        "The operator has not seen this LLMDeployment yet.",
        "If it stays, check whether the operator runs.",
    )
    API_SERVER_ERROR = (
        "APIServerError",
        Kind.PROGRESSING,
        "The API server rejected the same step three times in a row; its error is in the message. Stalled after "
        "10 minutes. `Ready` does not change while pods of the current spec serve.",
        "Check the API server and its admission webhooks. The operator retries by itself.",
    )
    OPERATOR_ERROR = (
        "OperatorError",
        Kind.PROGRESSING,
        "The operator has a defect. Stalled after 10 minutes.",
        "Report it with the message and the operator's log. The operator retries by itself.",
    )

    OPERATORS_OVERLAP = (
        "OperatorsOverlap",
        Kind.INFORMATIVE,
        "Two operators serve the namespace. The first one goes on; the other one changes nothing while the first one "
        "answers, and takes over when it does not for 150 seconds.",
        "Uninstall one of them, or give each its own namespaces.",
    )

    # The spec as a whole.
    INVALID_SPEC = (
        "InvalidSpec",
        Kind.STALLED,
        "The spec has a field or a value that this version of the operator does not know.",
        "Correct the field, or update the operator.",
    )
    NOT_CHECKED = (
        "NotChecked",
        Kind.INFORMATIVE,
        "A warning of the admission webhook: the change was stored without a check.",
        "Read the conditions of the LLMDeployment. See [webhook.md](webhook.md) if it happens again.",
    )

    # Releases and images.
    RELEASE_REQUIRED = (
        "ReleaseRequired",
        Kind.STALLED,
        "The tag of the serving image does not name a Triton release, so its arguments and CVEs cannot be checked.",
        "Set `spec.server.release`.",
    )
    RELEASE_UNKNOWN = (
        "ReleaseUnknown",
        Kind.STALLED,
        "The release is not in the table of this operator.",
        "Choose the release that the message names, or update the operator.",
    )
    RELEASE_CONTRADICTS_IMAGE = (
        "ReleaseContradictsImage",
        Kind.STALLED,
        "The tag of the image and `spec.server.release` name different releases.",
        "Set `spec.server.release` to the release of the tag, or remove it.",
    )
    ENGINE_VERSION_UNKNOWN = (
        "EngineVersionUnknown",
        Kind.STALLED,
        "The vLLM version is not known or is not a version, so nothing about it can be checked.",
        "Choose the release that the message names.",
    )
    IMAGE_WITHOUT_VLLM = (
        "ImageWithoutVllm",
        Kind.STALLED,
        "The image is a Triton image without the vLLM backend.",
        "Set `spec.server.image` to the image that the message names, or remove it.",
    )
    IMAGE_REQUIRED = (
        "ImageRequired",
        Kind.STALLED,
        "The release is one of the operator's own images, which is not the default image of this installation.",
        "Set `spec.server.image`.",
    )
    FIELD_OF_OWN_IMAGE = (
        "FieldOfOwnImage",
        Kind.STALLED,
        "NVIDIA's image does not read this field; only the operator's own image does.",
        "Remove the field, or use a release with the operator's own image.",
    )
    RELEASE_UNSAFE = (
        "ReleaseUnsafe",
        Kind.STALLED,
        "The release has CVEs with which anyone who reaches its port can run code. It never runs.",
        "Set `spec.server.release` to the release that the message names.",
    )
    RELEASE_NEEDS_OPT_OUT = (
        "ReleaseNeedsOptOut",
        Kind.STALLED,
        "The release has critical CVEs, and the namespace does not allow it.",
        "Set `spec.server.release` to the release that the message names, or have an administrator set the annotation "
        "on the namespace.",
    )
    RELEASE_OPTED_OUT = (
        "ReleaseOptedOut",
        Kind.INFORMATIVE,
        "The release has critical CVEs and runs because the namespace allows it.",
        "Set `spec.server.release` to the release that the message names.",
    )
    RELEASE_OUTDATED = (
        "ReleaseOutdated",
        Kind.INFORMATIVE,
        "The release has open CVEs that a newer release does not have.",
        "Set `spec.server.release` to the release that the message names.",
    )
    CVES_REMAIN = (
        "CvesRemain",
        Kind.INFORMATIVE,
        "The release has open CVEs, and so has every other release.",
        "Allow only trusted clients to reach its ports.",
    )
    ADVISORIES_STALE = (
        "AdvisoriesStale",
        Kind.INFORMATIVE,
        "The operator's table of CVEs was not checked for a long time, so newer CVEs can be missing.",
        "Update the operator.",
    )
    NO_KNOWN_CVES = (
        "NoKnownCves",
        Kind.INFORMATIVE,
        "No open CVE of the serving image is known.",
    )

    # Arguments of the engine.
    ARGUMENT_TOO_DEEP = (
        "ArgumentTooDeep",
        Kind.STALLED,
        "The value of an engine argument is nested too deeply.",
        "Remove the argument.",
    )
    ARGUMENT_SPELLING = (
        "ArgumentSpelling",
        Kind.STALLED,
        "An engine argument is written as on a command line and not as in Python.",
        "Write the line at the end of the message.",
    )
    ARGUMENT_UNSAFE = (
        "ArgumentUnsafe",
        Kind.STALLED,
        "An argument would run code or open the server to others; `extraArgs` does not accept it.",
        "Write the line at the end of the message, or remove the argument.",
    )
    ARGUMENT_OWNED = (
        "ArgumentOwned",
        Kind.STALLED,
        "The operator sets this argument itself.",
        "Write the line at the end of the message, or remove the argument.",
    )
    ARGUMENT_HAS_FIELD = (
        "ArgumentHasField",
        Kind.STALLED,
        "The argument has a field of its own in `spec.engine`.",
        "Write the line at the end of the message.",
    )
    ARGUMENT_OF_SERVER = (
        "ArgumentOfServer",
        Kind.STALLED,
        "The argument is an option of vLLM's own HTTP server and not of the engine.",
        "Write the line at the end of the message, or remove the argument.",
    )
    ARGUMENT_OF_ENGINE = (
        "ArgumentOfEngine",
        Kind.STALLED,
        "The argument is one of the engine and not of vLLM's OpenAI server.",
        "Move it to the field that the message names, or remove the argument.",
    )
    ARGUMENT_OF_REQUEST = (
        "ArgumentOfRequest",
        Kind.STALLED,
        "The argument is a parameter of each request and not of the engine.",
        "Remove the argument and send it with the request.",
    )
    ARGUMENT_MOVED = (
        "ArgumentMoved",
        Kind.STALLED,
        "The argument has another name or place in the vLLM of this release.",
        "Write the line at the end of the message.",
    )
    ARGUMENT_REMOVED = (
        "ArgumentRemoved",
        Kind.STALLED,
        "The vLLM of this release no longer has the argument.",
        "Remove the argument.",
    )
    ARGUMENT_TOO_NEW = (
        "ArgumentTooNew",
        Kind.STALLED,
        "The vLLM of this release does not have the argument yet, and no release with a newer vLLM is known.",
        "Remove the argument.",
    )
    ARGUMENT_NEEDS_RELEASE = (
        "ArgumentNeedsRelease",
        Kind.STALLED,
        "The vLLM of this release does not have the argument yet; a newer release does.",
        "Set `spec.server.release` to the release that the message names, or remove the argument.",
    )
    ARGUMENT_MISSPELT = (
        "ArgumentMisspelt",
        Kind.STALLED,
        "vLLM does not have an argument of this name; it has one with a similar name.",
        "Write the line at the end of the message.",
    )
    ARGUMENT_UNKNOWN = (
        "ArgumentUnknown",
        Kind.STALLED,
        "vLLM does not have an argument of this name.",
        "Remove the argument.",
    )
    ARGUMENT_TYPE = (
        "ArgumentType",
        Kind.STALLED,
        "The value of the argument has the wrong type.",
        "Write the line at the end of the message.",
    )
    ARGUMENT_CHOICE = (
        "ArgumentChoice",
        Kind.STALLED,
        "The value is not one of the values that the argument accepts.",
        "Write the line at the end of the message.",
    )
    ARGUMENT_BOUND = (
        "ArgumentBound",
        Kind.STALLED,
        "The value is outside the range of the argument.",
        "Use a number within the range that the message names.",
    )
    ARGUMENTS_CONTRADICT = (
        "ArgumentsContradict",
        Kind.STALLED,
        "Two arguments exclude each other.",
        "Write the line at the end of the message.",
    )
    ARGUMENT_IGNORED = (
        "ArgumentIgnored",
        Kind.INFORMATIVE,
        "An argument has no effect: because of another one, or because the engine ignores the key.",
        "Write the line at the end of the message, or remove the argument.",
    )
    VARIABLE_NOT_READ = (
        "VariableNotRead",
        Kind.INFORMATIVE,
        "The engine does not read an environment variable `VLLM_*`: it is misspelt, removed or too new.",
        "Correct or remove the variable that the message names.",
    )
    ARGUMENT_RISKY = (
        "ArgumentRisky",
        Kind.INFORMATIVE,
        "The argument is accepted, but it has a risk that the message names.",
        "Check whether you accept the risk.",
    )

    # Flags of tritonserver.
    FLAG_UNKNOWN = (
        "FlagUnknown",
        Kind.STALLED,
        "tritonserver does not have a flag of this name.",
        "Remove the flag.",
    )
    FLAG_MISSPELT = (
        "FlagMisspelt",
        Kind.STALLED,
        "tritonserver does not have a flag of this name; it has one with a similar name.",
        "Write the line at the end of the message.",
    )
    FLAG_OWNED = (
        "FlagOwned",
        Kind.STALLED,
        "The operator sets this flag itself.",
        "Write the line at the end of the message, or remove the flag.",
    )
    FLAG_REFUSED = (
        "FlagRefused",
        Kind.STALLED,
        "The operator rejects this flag; the message has the reason.",
        "Write the line at the end of the message, or remove the flag.",
    )
    FLAG_WITHOUT_EFFECT = (
        "FlagWithoutEffect",
        Kind.STALLED,
        "The flag would have no effect.",
        "Write the line at the end of the message, or remove the flag.",
    )
    FLAG_TOO_NEW = (
        "FlagTooNew",
        Kind.STALLED,
        "The tritonserver of this release does not have the flag yet.",
        "Remove the flag, or choose a newer release.",
    )
    FLAG_VALUE = (
        "FlagValue",
        Kind.STALLED,
        "The flag has no value or a wrong one.",
        "Write the line at the end of the message.",
    )
    FLAG_RISKY = (
        "FlagRisky",
        Kind.INFORMATIVE,
        "The flag is accepted, but it has a risk that the message names.",
        "Check whether you accept the risk.",
    )
    EXPOSED_WITHOUT_KEY = (
        "ExposedWithoutKey",
        Kind.INFORMATIVE,
        "A Service of type LoadBalancer or NodePort publishes a port for requests that requires no key.",
        "Require a key, or limit who reaches the port, as the message says.",
    )

    # Reading the model: condition ModelResolved.
    RESOLVED = (
        "Resolved",
        Kind.INFORMATIVE,
        "The model's config.json and the headers of its weights were read.",
    )
    INSPECTING = (
        "Inspecting",
        Kind.PROGRESSING,
        "A short-lived pod reads the model's config.json and the headers of its weights.",
        "Wait. After 60 s the serving pods are created without a plan.",
    )
    INSPECTION_FAILED = (
        "InspectionFailed",
        Kind.INFORMATIVE,
        "The inspection pod ended without a result. The model is served without a plan, and the inspection is retried.",
        "Read the end of its log in the message.",
    )
    INSPECTION_TIMEOUT = (
        "InspectionTimeout",
        Kind.INFORMATIVE,
        "The model was not read within the time limit. It is served without a plan, and the inspection is retried.",
        "Check the storage of the volume, and whether the files are a model.",
    )
    INSPECTION_UNREADABLE = (
        "InspectionUnreadable",
        Kind.INFORMATIVE,
        "The result of the inspection is not one of this version of the operator.",
        "Wait for the next attempt; after an update of the operator it has the new format.",
    )
    INSPECTION_REFUSED = (
        "InspectionRefused",
        Kind.INFORMATIVE,
        "A quota, a policy or an admission webhook rejected the inspection pod. The model is served without a plan.",
        "Do what the message says; it has the error of the API server.",
    )
    INSPECTION_IMAGE_PULL_FAILED = (
        "InspectionImagePullFailed",
        Kind.INFORMATIVE,
        "The operator's image, which the inspection pod runs, cannot be pulled. The model is served without a plan.",
        "Add a Secret for its registry to `spec.podTemplate.imagePullSecrets`, or correct `--operator-image`.",
    )
    HUB_UNREACHABLE = (
        "HubUnreachable",
        Kind.INFORMATIVE,
        "The hub did not answer the inspection pod. The model is served without a plan, and the inspection is retried.",
        "Check the hub, `HF_ENDPOINT`, proxies and the NetworkPolicies of the namespace.",
    )
    MODEL_NOT_FOUND = (
        "ModelNotFound",
        Kind.STALLED,
        "The hub does not have the model, or it is private.",
        "Correct `spec.model.uri`, or set `spec.model.tokenSecretRef` for a private model. The operator retries by "
        "itself.",
    )
    MODEL_GATED = (
        "ModelGated",
        Kind.STALLED,
        "The repository is gated, and the pods have no token.",
        "Accept its terms, and put a token of that account into the Secret of `spec.model.tokenSecretRef`.",
    )
    TOKEN_REFUSED = (
        "TokenRefused",
        Kind.STALLED,
        "The hub rejected the token, or the token has no access to the repository.",
        "Accept the terms of the repository, and put a valid token of that account into the Secret of "
        "`spec.model.tokenSecretRef`.",
    )
    TOKEN_UNREADABLE = (
        "TokenUnreadable",
        Kind.INFORMATIVE,
        "The model needs a token, and the one that `spec.podTemplate` gives cannot be read by the inspection pod: its "
        "variable or file is empty, or the file does not exist. The model is served without a plan.",
        "Correct the variable or the file, or put the token into the Secret of `spec.model.tokenSecretRef`.",
    )
    REVISION_NOT_FOUND = (
        "RevisionNotFound",
        Kind.STALLED,
        "The repository does not have the branch, tag or commit.",
        "Correct `spec.model.revision`. The operator retries by itself.",
    )
    FILE_MISSING = (
        "FileMissing",
        Kind.STALLED,
        "The repository or the claim does not have a file of the model.",
        "Correct `spec.model.uri`, or upload the model again with all of its files. The operator retries by itself.",
    )
    FILE_UNREADABLE = (
        "FileUnreadable",
        Kind.INFORMATIVE,
        "A file of the model cannot be read. The model is served without a plan.",
        "Check the permissions of the file and the volume.",
    )
    TOO_MANY_FILES = (
        "TooManyFiles",
        Kind.INFORMATIVE,
        "The folder has too many files to be a model. It is served without a plan.",
        "Set `spec.model.uri` to the folder of one model.",
    )
    TOO_MANY_SHARDS = (
        "TooManyShards",
        Kind.INFORMATIVE,
        "The model has more safetensors files than the operator reads. It is served without a plan.",
        "Use a checkpoint with fewer files, or set the fields of `spec.engine` yourself.",
    )
    TOO_MANY_TENSORS = (
        "TooManyTensors",
        Kind.INFORMATIVE,
        "The model has more tensors than the operator reads. It is served without a plan.",
        "Set the fields of `spec.engine` yourself.",
    )
    SHAPE_TOO_LARGE = (
        "ShapeTooLarge",
        Kind.INFORMATIVE,
        "The layers differ so much that their description does not fit a termination message. There is no plan.",
        "Set the fields of `spec.engine` yourself.",
    )
    SHAPE_UNREADABLE = (
        "ShapeUnreadable",
        Kind.INFORMATIVE,
        "The packed shape of the model is damaged.",
        "Wait: the model is read again.",
    )
    SHAPE_FORMAT_UNKNOWN = (
        "ShapeFormatUnknown",
        Kind.INFORMATIVE,
        "The shape of the model has the format of another version of the operator.",
        "Wait: the model is read again. For `kubectl llm`, write the shape again with the same version.",
    )
    CONFIG_FORMAT_UNKNOWN = (
        "ConfigFormatUnknown",
        Kind.INFORMATIVE,
        "The model has no config.json but a format that the planner does not read. It is served without a plan.",
        "Set the fields of `spec.engine` yourself, or use a checkpoint with a config.json.",
    )
    CONFIG_NOT_JSON = (
        "ConfigNotJson",
        Kind.INFORMATIVE,
        "A description of the model is not valid JSON.",
        "Correct the file that the message names, or download the model again.",
    )
    CONFIG_TOO_LARGE = (
        "ConfigTooLarge",
        Kind.INFORMATIVE,
        "A description of the model is larger than that of any known model.",
        "Check that `spec.model.uri` is a model; remove what does not belong to the file.",
    )
    CONFIG_TOO_DEEP = (
        "ConfigTooDeep",
        Kind.INFORMATIVE,
        "A description of the model is nested too deeply.",
        "Correct the file that the message names.",
    )
    CONFIG_FIELD_MISSING = (
        "ConfigFieldMissing",
        Kind.INFORMATIVE,
        "config.json lacks a field that the planner needs.",
        "Add the field that the message names, or set the fields of `spec.engine` yourself.",
    )
    CONFIG_FIELD_WRONG_TYPE = (
        "ConfigFieldWrongType",
        Kind.INFORMATIVE,
        "A field of config.json has the wrong type.",
        "Correct the field that the message names.",
    )
    CONFIG_FIELD_OUT_OF_RANGE = (
        "ConfigFieldOutOfRange",
        Kind.INFORMATIVE,
        "A field of config.json has a value that no model can have.",
        "Correct the field that the message names.",
    )
    CONFIG_NUMBER_TOO_LARGE = (
        "ConfigNumberTooLarge",
        Kind.INFORMATIVE,
        "A number in a description of the model has too many digits.",
        "Correct the file.",
    )
    ARCHITECTURE_MISSING = (
        "ArchitectureMissing",
        Kind.INFORMATIVE,
        "config.json does not name an architecture.",
        "Add `architectures` to config.json.",
    )
    ARCHITECTURE_UNKNOWN = (
        "ArchitectureUnknown",
        Kind.INFORMATIVE,
        "No plan of this architecture or model type is proven to equal the engine's. It is served without a plan.",
        "Set the fields of `spec.engine` yourself, and compare `status.actual`.",
    )
    NOT_A_CAUSAL_MODEL = (
        "NotACausalModel",
        Kind.STALLED,
        "The model does not generate text, and the engine cannot embed or classify with it either.",
        "Use a model whose architecture ends in ForCausalLM or ForConditionalGeneration, or one that vLLM lists as a "
        "pooling model.",
    )
    POOLING_NOT_PLANNED = (
        "PoolingNotPlanned",
        Kind.INFORMATIVE,
        "The model embeds or classifies and generates no text. It is served without a plan.",
        "Set the fields of `spec.engine` yourself if the defaults do not fit.",
    )
    NEEDS_TRUST_REMOTE_CODE = (
        "NeedsTrustRemoteCode",
        Kind.STALLED,
        "The model is loaded by Python code of its repository, which the operator does not run.",
        "Use a repository whose model type vLLM knows.",
    )
    CONFIG_CONTRADICTS_TENSORS = (
        "ConfigContradictsTensors",
        Kind.INFORMATIVE,
        "A tensor in the headers has another shape than config.json gives it: the files are not of one model.",
        "Copy config.json and the safetensors files from one repository and revision.",
    )
    CONFIG_FIELD_PER_LAYER = (
        "ConfigFieldPerLayer",
        Kind.INFORMATIVE,
        "A field of config.json has a value per layer where the planner reads one. The model is served without a plan.",
        "Set the fields of `spec.engine` yourself, and compare `status.actual`.",
    )
    LAYER_TYPE_UNKNOWN = (
        "LayerTypeUnknown",
        Kind.INFORMATIVE,
        "The planner does not know a type of layer of the model. It is served without a plan.",
        "Set the fields of `spec.engine` yourself.",
    )
    CHECKPOINT_INCOMPLETE = (
        "CheckpointIncomplete",
        Kind.INFORMATIVE,
        "The weights of some layers are in none of the files.",
        "Upload or copy the model again, with all of its files.",
    )
    SAFETENSORS_HEADER_INVALID = (
        "SafetensorsHeaderInvalid",
        Kind.INFORMATIVE,
        "The header of a safetensors file is not valid.",
        "Download the file again.",
    )
    SAFETENSORS_TRUNCATED = (
        "SafetensorsTruncated",
        Kind.INFORMATIVE,
        "A safetensors file ends within its header.",
        "Download the file again.",
    )

    # The plan: condition Fits, and reason of status.plan.
    PLANNING_OFF = (
        "PlanningOff",
        Kind.INFORMATIVE,
        "`spec.planning.mode` is Off: the model is not inspected and there is no plan.",
        "Set `spec.planning.mode` to Advise or Enforce to get one.",
    )
    NOT_PLANNED = (
        "NotPlanned",
        Kind.INFORMATIVE,
        "There is no plan, or none to compare the engine with.",
        "See the condition Fits; without `--operator-image` the operator cannot inspect models.",
    )
    NODES_NOT_READABLE = (
        "NodesNotReadable",
        Kind.INFORMATIVE,
        "The operator is not allowed to list nodes, so the GPUs are not known.",
        "Grant the ClusterRole of the chart, or set `spec.resources.gpu.memoryGiB` and the fields of `spec.engine`.",
    )
    GPU_MEMORY_UNKNOWN = (
        "GPUMemoryUnknown",
        Kind.INFORMATIVE,
        "The memory of the GPUs is not known: no node has them, or its labels do not have the memory.",
        "Install NVIDIA's GPU feature discovery, or set `spec.resources.gpu.memoryGiB`.",
    )
    GPUS_SHARED = (
        "GPUsShared",
        Kind.INFORMATIVE,
        "Several pods share the memory of a GPU.",
        "Set `spec.resources.gpu.memoryGiB` to the share of one pod, or select nodes with whole GPUs.",
    )
    GPU_PRODUCT_UNKNOWN = (
        "GPUProductUnknown",
        Kind.INFORMATIVE,
        "The GPU product is not in the operator's table.",
        "Give the memory of the GPU in GiB instead.",
    )
    GPU_PRODUCT_AMBIGUOUS = (
        "GPUProductAmbiguous",
        Kind.INFORMATIVE,
        "The name of the GPU product matches several products.",
        "Write the full name of one of them.",
    )
    GPU_MEMORY_INVALID = (
        "GPUMemoryInvalid",
        Kind.INFORMATIVE,
        "The memory of the GPU is not between 0 and 4096 GiB.",
        "Correct the number.",
    )
    ARGUMENT_NOT_PLANNED = (
        "ArgumentNotPlanned",
        Kind.INFORMATIVE,
        "An argument in `spec.engine` changes what the engine needs in a way that the planner does not know.",
        "The engine decides when it starts; set the fields of `spec.engine` yourself.",
    )
    WEIGHTS_CONVERTED = (
        "WeightsConverted",
        Kind.INFORMATIVE,
        "The weights are converted while they are loaded, and the planner does not know their size then.",
        "The engine decides when it starts; use a checkpoint in the data type that is served to get a plan.",
    )
    ENGINE_ARGUMENT_INVALID = (
        "EngineArgumentInvalid",
        Kind.INFORMATIVE,
        "An argument in `spec.engine.extraArgs` has a value that the planner does not understand.",
        "Correct the argument that the message names.",
    )
    ENGINE_VERSION_UNSUPPORTED = (
        "EngineVersionUnsupported",
        Kind.INFORMATIVE,
        "The planner does not know the memory rules of this vLLM version.",
        "Choose a newer `spec.server.release`.",
    )
    FITS = (
        "Fits",
        Kind.INFORMATIVE,
        "The model fits the GPUs that pods can run on.",
    )
    TIGHT = (
        "Tight",
        Kind.INFORMATIVE,
        "The model fits only if the engine's peak while starting stays small, or only on some of the GPUs.",
        "Make the change that the message names to be sure; see [fit.md](fit.md).",
    )
    DOES_NOT_FIT = (
        "DoesNotFit",
        Kind.STALLED,
        "The model does not fit the GPUs that pods can run on; no pods were created.",
        "Make the change that the message names, or set `spec.planning.mode: Advise`; see [fit.md](fit.md).",
    )
    HOST_MEMORY_TOO_SMALL = (
        "HostMemoryTooSmall",
        Kind.STALLED,
        "The server and its engine certainly need more memory than the container's limit; no pods were created.",
        "Set `spec.resources.memory` to what the message names; see [host.md](host.md).",
    )
    SHARED_MEMORY_TOO_SMALL = (
        "SharedMemoryTooSmall",
        Kind.STALLED,
        "The engine certainly needs a larger /dev/shm; no pods were created.",
        "Set `spec.resources.sharedMemory` to what the message names; see [host.md](host.md).",
    )
    EPHEMERAL_STORAGE_TOO_SMALL = (
        "EphemeralStorageTooSmall",
        Kind.STALLED,
        "The downloaded model is larger than the container's ephemeral storage; no pods were created.",
        "Set `spec.resources.ephemeralStorage` to what the message names; see [host.md](host.md).",
    )
    DEPENDS_ON_GPU = (
        "DependsOnGPU",
        Kind.INFORMATIVE,
        "Pods can run on GPUs of several classes, and the model does not fit all of them.",
        "Set `spec.resources.gpu.product`.",
    )
    DECIDED_BY_OVERHEAD = (
        "DecidedByOverhead",
        Kind.INFORMATIVE,
        "One request of full length fits only if the engine's peak while starting stays small.",
        "Lower `maxModelLen` or `maxNumBatchedTokens`.",
    )
    DRAFT_MODEL_UNKNOWN = (
        "DraftModelUnknown",
        Kind.INFORMATIVE,
        "The model fits without the weights of the draft model, whose size is not known.",
        "Compare them with the KV cache that is left.",
    )
    WEIGHTS_ESTIMATED = (
        "WeightsEstimated",
        Kind.INFORMATIVE,
        "The size of the weights is an estimate from config.json.",
        "Use a checkpoint with safetensors files for an exact size.",
    )
    UTILIZATION_TOO_HIGH = (
        "UtilizationTooHigh",
        Kind.STALLED,
        "`gpuMemoryUtilization` leaves too little memory for the CUDA context.",
        "Lower `gpuMemoryUtilization` as the message says, or use a larger GPU.",
    )
    NO_KV_CACHE_MEMORY = (
        "NoKVCacheMemory",
        Kind.STALLED,
        "Weights and the peak while starting leave no memory for the KV cache.",
        "Use more GPUs (`tensorParallelSize`), a quantized model or a larger GPU.",
    )
    KV_CACHE_TOO_SMALL = (
        "KVCacheTooSmall",
        Kind.STALLED,
        "The KV cache does not hold one request of `maxModelLen` tokens.",
        "Lower `maxModelLen` as the message says, or use more GPUs.",
    )
    TOO_FEW_STATE_BLOCKS = (
        "TooFewStateBlocks",
        Kind.STALLED,
        "The model keeps one state block per request, and there are fewer blocks than `maxNumSeqs`.",
        "Lower `maxNumSeqs` as the message says.",
    )
    SETTING_OUT_OF_RANGE = (
        "SettingOutOfRange",
        Kind.STALLED,
        "A setting of the engine is outside its range.",
        "Use a number within the range that the message names.",
    )
    TENSOR_PARALLEL_HEADS = (
        "TensorParallelHeads",
        Kind.STALLED,
        "The attention heads cannot be split over `tensorParallelSize` GPUs.",
        "Use one of the sizes that the message names.",
    )
    TENSOR_PARALLEL_KV_HEADS = (
        "TensorParallelKVHeads",
        Kind.STALLED,
        "Neither the number of KV heads nor `tensorParallelSize` divides the other.",
        "Use one of the sizes that the message names.",
    )
    TENSOR_PARALLEL_VOCABULARY = (
        "TensorParallelVocabulary",
        Kind.STALLED,
        "The vocabulary cannot be split over `tensorParallelSize` GPUs.",
        "Use one of the sizes that the message names.",
    )
    TENSOR_PARALLEL_WIDTH = (
        "TensorParallelWidth",
        Kind.STALLED,
        "The feed-forward width cannot be split over `tensorParallelSize` GPUs.",
        "Use one of the sizes that the message names.",
    )
    TENSOR_PARALLEL_EXPERTS = (
        "TensorParallelExperts",
        Kind.STALLED,
        "The model has fewer experts than `tensorParallelSize`, and its class does not support that.",
        "Lower `tensorParallelSize` as the message says.",
    )
    TENSOR_PARALLEL_STATE_GROUPS = (
        "TensorParallelStateGroups",
        Kind.STALLED,
        "The state groups cannot be split over `tensorParallelSize` GPUs.",
        "Use one of the sizes that the message names.",
    )
    QUANTIZATION_GROUP_SPLIT = (
        "QuantizationGroupSplit",
        Kind.STALLED,
        "`tensorParallelSize` splits a group of quantized weights.",
        "Use a smaller `tensorParallelSize`, or `enableExpertParallel` for experts.",
    )
    PIPELINE_PARALLEL_UNSUPPORTED = (
        "PipelineParallelUnsupported",
        Kind.STALLED,
        "vLLM does not support pipeline parallelism for this architecture.",
        "Remove `pipelineParallelSize`.",
    )
    PIPELINE_PARALLEL_TOO_LARGE = (
        "PipelineParallelTooLarge",
        Kind.STALLED,
        "`pipelineParallelSize` is larger than the number of layers.",
        "Lower `pipelineParallelSize`.",
    )
    NO_EXPERTS = (
        "NoExperts",
        Kind.STALLED,
        "`enableExpertParallel` is set for a model without experts.",
        "Remove `enableExpertParallel`.",
    )
    MAX_MODEL_LEN_TOO_LONG = (
        "MaxModelLenTooLong",
        Kind.STALLED,
        "`maxModelLen` is longer than the model supports.",
        "Lower `maxModelLen` as the message says.",
    )
    BATCH_SMALLER_THAN_SEQUENCES = (
        "BatchSmallerThanSequences",
        Kind.STALLED,
        "`maxNumBatchedTokens` is smaller than `maxNumSeqs`: each running sequence needs one token per step.",
        "Lower `maxNumSeqs` as the message says.",
    )
    DTYPE_UNKNOWN = (
        "DtypeUnknown",
        Kind.STALLED,
        "The engine does not have this data type.",
        "Use one of the data types that the message names.",
    )
    DTYPE_UNSUPPORTED = (
        "DtypeUnsupported",
        Kind.STALLED,
        "The GPU does not support bfloat16.",
        "Set `dtype: half`.",
    )
    KV_CACHE_DTYPE_UNKNOWN = (
        "KVCacheDtypeUnknown",
        Kind.STALLED,
        "The planner does not know the size of this data type of the KV cache.",
        "Use one of the data types that the message names.",
    )
    KV_CACHE_PAGES_UNEVEN = (
        "KVCachePagesUneven",
        Kind.STALLED,
        "The vLLM of this release does not start with KV cache pages that do not divide the largest one.",
        "Choose a newer `spec.server.release`, with vLLM 0.24.0 or newer.",
    )
    QUANTIZATION_REMOVED = (
        "QuantizationRemoved",
        Kind.STALLED,
        "The vLLM of this release no longer supports the model's quantization.",
        "Use an AWQ, GPTQ or FP8 checkpoint.",
    )
    QUANTIZATION_NOT_ON_GPU = (
        "QuantizationNotOnGpu",
        Kind.STALLED,
        "The vLLM of the serving image has no kernels of the model's quantization for these GPUs; no pods were "
        "created.",
        "Set `spec.resources.gpu.product` to newer GPUs, or serve a model of another quantization.",
    )
    DRIVER_TOO_OLD = (
        "DriverTooOld",
        Kind.STALLED,
        "By the nodes' labels (`nvidia.com/cuda.driver-version.full`) their driver cannot run the CUDA inside the "
        "serving image; no pods were created.",
        "Update the driver to what the message names, choose another `spec.server.release`, or select other nodes with "
        "`spec.scheduling.nodeSelector`.",
    )
    DRIVER_TOO_OLD_FOR_GPU = (
        "DriverTooOldForGpu",
        Kind.STALLED,
        "By the nodes' labels their driver is older than the first that supports the GPU; no pods were created.",
        "Update the driver, or correct the labels, which may be left from another card.",
    )
    DRIVER_OLDER_THAN_CUDA = (
        "DriverOlderThanCuda",
        Kind.INFORMATIVE,
        "The driver is older than the CUDA of the image and runs it by minor version compatibility; kernels that are "
        "compiled at run time can fail.",
        "Update the driver to what the message names.",
    )
    DRIVER_NEEDS_COMPATIBILITY = (
        "DriverNeedsCompatibility",
        Kind.INFORMATIVE,
        "The driver runs the CUDA of the image only through the compatibility package, on data center GPUs.",
        "Update the driver to what the message names.",
    )
    DRIVER_UNREADABLE = (
        "DriverUnreadable",
        Kind.INFORMATIVE,
        "The driver version in the node's labels is not valid, so it is not checked.",
        "Correct the label.",
    )

    # Writing the children.
    CREATING = (
        "Creating",
        Kind.PROGRESSING,
        "The objects of the LLMDeployment are being created.",
        "Wait.",
    )
    NAME_TAKEN = (
        "NameTaken",
        Kind.STALLED,
        "An object with the name of a child exists and belongs to another owner.",
        "Delete or rename that object, or rename the LLMDeployment.",
    )
    CHILD_REFUSED = (
        "ChildRefused",
        Kind.STALLED,
        "The API server rejected a child as invalid, for example a list that cannot be merged.",
        "Correct the field of the spec that the message names.",
    )
    CHANGE_REVERTED = (
        "ChangeReverted",
        Kind.INFORMATIVE,
        "An event: others have changed a field of a child that the operator sets, and it was set back.",
        "Change the LLMDeployment instead: for the number of pods, `kubectl scale llm/NAME --replicas=N`.",
    )
    CHILD_FORBIDDEN = (
        "ChildForbidden",
        Kind.STALLED,
        "A quota, an admission webhook or a missing permission forbids a child.",
        "Do what the message says; it has the error of the API server.",
    )

    # The pods: conditions Ready and Available.
    PODS_REFUSED = (
        "PodsRefused",
        Kind.STALLED,
        "A quota, a LimitRange, a policy, an admission webhook or a missing object keeps Kubernetes from creating the "
        "pods.",
        "Do what the message says; it has Kubernetes' error.",
    )
    CLAIM_NOT_FOUND = (
        "ClaimNotFound",
        Kind.STALLED,
        "The PersistentVolumeClaim of the model or of a volume does not exist.",
        "Create it, or correct `spec.model.uri` or `spec.podTemplate.volumes`.",
    )
    CLAIM_NOT_BOUND = (
        "ClaimNotBound",
        Kind.STALLED,
        "The PersistentVolumeClaim has no volume.",
        "Check its storage class with `kubectl describe pvc`.",
    )
    INSUFFICIENT_GPUS = (
        "InsufficientGPUs",
        Kind.PROGRESSING,
        "No node has enough free GPUs; the message lists the free GPUs of each class and who uses the others.",
        "Scale one of the others down, add a node, or set the PriorityClass that the message names; see "
        "[fit.md](fit.md#who-holds-the-gpus).",
    )
    UNSCHEDULABLE = (
        "Unschedulable",
        Kind.PROGRESSING,
        "No node accepts the pod for another cause than GPUs; the scheduler's message is included.",
        "Change `spec.resources` or `spec.scheduling`, or add a node.",
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        Kind.STALLED,
        "A Secret that the pod references does not exist.",
        "Create it; the pod then starts by itself.",
    )
    SECRET_KEY_NOT_FOUND = (
        "SecretKeyNotFound",
        Kind.STALLED,
        "A Secret that the pod references lacks a key.",
        "Add the key, or reference another one; the pod then starts by itself.",
    )
    CONFIG_MAP_NOT_FOUND = (
        "ConfigMapNotFound",
        Kind.STALLED,
        "A ConfigMap that the pod references does not exist.",
        "Create it; the pod then starts by itself.",
    )
    CONFIG_MAP_KEY_NOT_FOUND = (
        "ConfigMapKeyNotFound",
        Kind.STALLED,
        "A ConfigMap that the pod references lacks a key.",
        "Add the key, or reference another one; the pod then starts by itself.",
    )
    CONTAINER_NOT_CREATED = (
        "ContainerNotCreated",
        Kind.STALLED,
        "The kubelet cannot create the container.",
        "Correct what the message names in `spec.podTemplate` or `spec.model`.",
    )
    IMAGE_PULL_FAILED = (
        "ImagePullFailed",
        Kind.STALLED,
        "The serving image cannot be pulled.",
        "Check `spec.server.image`, `spec.podTemplate.imagePullSecrets` and the registry.",
    )
    MOUNT_FAILED = (
        "MountFailed",
        Kind.STALLED,
        "The kubelet cannot mount a volume.",
        "Create what the volume references, or correct `spec.podTemplate.volumes`.",
    )
    OUT_OF_MEMORY = (
        "OutOfMemory",
        Kind.STALLED,
        "The container used more memory than its limit.",
        "Raise `spec.resources.memory`.",
    )
    SERVER_FAILED = (
        "ServerFailed",
        Kind.STALLED,
        "The server exited; the message has the error of the engine, and whether it had served before.",
        "Do what the message says: a model that does not exist, a token without access, too little GPU memory.",
    )
    NODE_LOST = (
        "NodeLost",
        Kind.STALLED,
        "The node of a pod does not answer, so the state of the pod is not known.",
        "Check the node with `kubectl describe node`. Kubernetes replaces the pod when its tolerations end.",
    )
    DELETION_STUCK = (
        "DeletionStuck",
        Kind.STALLED,
        "A pod was deleted a minute beyond its grace period and does not end; it can still hold GPUs.",
        "Check its node and its finalizers. Where the node is gone, delete the pod with `--force`.",
    )
    DEPLOYMENT_BEING_DELETED = (
        "DeploymentBeingDeleted",
        Kind.PROGRESSING,
        "The Deployment was deleted by others and is created again when it is gone; Stalled after 10 minutes.",
        "Check its finalizers, which the message names, and the controllers that remove them.",
    )
    DEPLOYMENT_PAUSED = (
        "DeploymentPaused",
        Kind.STALLED,
        "The Deployment is paused, so its pods are not replaced.",
        "`kubectl rollout resume deployment/NAME`",
    )
    POD_EVICTED = (
        "PodEvicted",
        Kind.PROGRESSING,
        "The kubelet evicted a pod; Stalled when it happens again within 30 minutes.",
        "Raise the resource that the message names, or free it on the node.",
    )
    POD_FAILED = (
        "PodFailed",
        Kind.PROGRESSING,
        "A pod failed as a whole, or its node rejected it; Stalled when it happens again within 30 minutes.",
        "Do what the message says.",
    )
    SCHEDULING_GATED = (
        "SchedulingGated",
        Kind.PROGRESSING,
        "A pod has scheduling gates, which another controller removes; Stalled after 10 minutes.",
        "Check that controller and its queue.",
    )
    SCHEDULER_MISSING = (
        "SchedulerMissing",
        Kind.STALLED,
        "The scheduler of a pod has not handled it for a minute.",
        "Check whether it runs, or change `spec.scheduling.schedulerName`.",
    )
    CONTAINER_FAILED = (
        "ContainerFailed",
        Kind.STALLED,
        "An init container or a sidecar has ended with an error.",
        "Read its log, and correct what adds it to the pods.",
    )
    CONTAINER_WAITING = (
        "ContainerWaiting",
        Kind.PROGRESSING,
        "A container waits for a reason that the operator does not know; the message has the kubelet's words. Stalled "
        "after 5 minutes.",
        "Check the pod with `kubectl describe pod`.",
    )
    POD_DISRUPTED = (
        "PodDisrupted",
        Kind.PROGRESSING,
        "Kubernetes is about to end a pod; Stalled after 5 minutes.",
        "Wait, or check the pod with `kubectl describe pod`.",
    )
    POD_NOT_READY = (
        "PodNotReady",
        Kind.PROGRESSING,
        "The server had started and is not ready now, or a sidecar or a readiness gate is not. Stalled after "
        "5 minutes.",
        "Check the pod with `kubectl describe pod`, and the logs of its containers.",
    )
    STARTING = (
        "Starting",
        Kind.PROGRESSING,
        "A pod pulls its image, loads the model or starts the engine; Stalled after an hour.",
        "Wait; `kubectl logs -f POD -c server` shows the phases of the start.",
    )
    SCALING = (
        "Scaling",
        Kind.PROGRESSING,
        "Not all pods are ready and behind the Service yet; Stalled after 10 minutes.",
        "Wait.",
    )
    ROLLING_OUT = (
        "RollingOut",
        Kind.PROGRESSING,
        "Pods of the previous configuration are being replaced; Stalled when Kubernetes does not go on for 10 minutes.",
        "Wait; they are deleted when their successors are ready.",
    )
    REVISION_DEPLOYED = (
        "RevisionDeployed",
        Kind.INFORMATIVE,
        "All pods run the newest revision.",
    )
    ROLLOUT_SURGING = (
        "RolloutSurging",
        Kind.PROGRESSING,
        "A GPU is free, or `spec.rollout.strategy` is Surge: old pods are deleted when their successors are ready.",
        "Wait; `kubectl llm rollout status NAME` shows how far it is.",
    )
    ROLLOUT_REPLACING = (
        "RolloutReplacing",
        Kind.PROGRESSING,
        "No GPU is free, or `spec.rollout.strategy` is Replace: old pods are deleted before their successors start.",
        "Wait; `kubectl llm rollout status NAME` shows how far it is, and the expected gap.",
    )
    ROLLOUT_FINISHING = (
        "RolloutFinishing",
        Kind.PROGRESSING,
        "No pod of a previous revision is left, and not all pods of the newest one have served yet.",
        "Wait.",
    )
    AUTOSCALED = (
        "Autoscaled",
        Kind.INFORMATIVE,
        "The number of pods follows the targets of `spec.autoscaling`.",
    )
    AUTOSCALING_AT_MAXIMUM = (
        "AutoscalingAtMaximum",
        Kind.INFORMATIVE,
        "The targets ask for more pods than `spec.autoscaling.maxReplicas`.",
        "Raise `maxReplicas`, or the targets.",
    )
    AUTOSCALING_NEEDS_GPUS = (
        "AutoscalingNeedsGPUs",
        Kind.INFORMATIVE,
        "The targets ask for more pods, and no GPU is free for them; the message names who holds the GPUs.",
        "Free or add GPUs: the pods are then added by themselves. Or lower `maxReplicas`.",
    )
    AUTOSCALING_STARTING = (
        "AutoscalingStarting",
        Kind.INFORMATIVE,
        "No ready pod has been read yet, so the number of pods stays as it is.",
    )
    AUTOSCALING_WITHOUT_METRICS = (
        "AutoscalingWithoutMetrics",
        Kind.INFORMATIVE,
        "The metrics of the ready pods cannot be read, so the number of pods stays as it is.",
        "Allow connections from the namespace of the operator to port 8002 of the pods, in NetworkPolicies and in a "
        "service mesh.",
    )
    AUTOSCALED_TWICE = (
        "AutoscaledTwice",
        Kind.INFORMATIVE,
        "A HorizontalPodAutoscaler scales the same LLMDeployment or its Deployment, or `spec.replicas` is changed, "
        "while `spec.autoscaling` is set: neither has an effect.",
        "Delete the HorizontalPodAutoscaler (or KEDA's ScaledObject), or remove `spec.autoscaling`.",
    )
    ROLLOUT_HELD = (
        "RolloutHeld",
        Kind.STALLED,
        "No GPU is free for a pod of the new revision, and no pod may be replaced without one: the old pods go on "
        "serving.",
        "`kubectl llm rollout proceed NAME` or `spec.rollout.strategy: Replace`, which have a gap; or free a GPU: it "
        "then goes on by itself.",
    )
    ROLLOUT_PAUSED = (
        "RolloutPaused",
        Kind.STALLED,
        "`spec.rollout.paused` is true.",
        "`kubectl llm rollout resume NAME`",
    )
    ROLLOUT_FAILED = (
        "RolloutFailed",
        Kind.STALLED,
        "The newest revision failed, and the rollout stopped: `spec.rollout.onFailure` is Hold, or the previous "
        "revision cannot be restored.",
        "Correct the spec by what the message says, or `kubectl llm rollout undo NAME`.",
    )
    ROLLOUT_UNDONE = (
        "RolloutUndone",
        Kind.STALLED,
        "The newest revision failed, and the previous one was restored.",
        "Correct the spec by what the message says. `kubectl llm rollout proceed NAME` tries the same revision again.",
    )
    NO_TOKEN = (
        "NoToken",
        Kind.PROGRESSING,
        "A pod is ready but has not yet answered a request with a token. It becomes Stalled after 10 minutes.",
        "Read what it answered in the message, and the log of the pod. Where there is no connection, allow ports 8000 "
        "and 9000 from the operator's namespace, in NetworkPolicies and in a mesh with mTLS in mode STRICT.",
    )
    SERVING = (
        "Serving",
        Kind.INFORMATIVE,
        "Every pod has answered with a token.",
        "Send requests.",
    )
    SCALING_DOWN = (
        "ScalingDown",
        Kind.PROGRESSING,
        "`spec.replicas` is 0, and the pods are stopping; Stalled when Kubernetes does not go on for 10 minutes.",
        "Wait.",
    )
    SCALED_TO_ZERO = (
        "ScaledToZero",
        Kind.INFORMATIVE,
        "`spec.replicas` is 0.",
        "`kubectl scale llm/NAME --replicas=1`",
    )
    ENOUGH_REPLICAS = (
        "EnoughReplicas",
        Kind.INFORMATIVE,
        "All pods that should run are ready.",
    )
    TOO_FEW_REPLICAS = (
        "TooFewReplicas",
        Kind.INFORMATIVE,
        "Fewer pods are ready than should run; requests are served with less capacity.",
        "See the condition Ready.",
    )
    NO_REPLICAS = (
        "NoReplicas",
        Kind.INFORMATIVE,
        "No pod is ready, so requests fail.",
        "See the condition Ready.",
    )

    # The engine compared with the plan: condition PlanAccurate.
    AS_PLANNED = (
        "AsPlanned",
        Kind.INFORMATIVE,
        "The engine got what was planned, within 5 %.",
    )
    NOT_SERVING = (
        "NotServing",
        Kind.INFORMATIVE,
        "No pod of the newest configuration has answered with a token yet.",
        "Wait.",
    )
    REPORT_PENDING = (
        "ReportPending",
        Kind.INFORMATIVE,
        "The report of the engine is being read.",
        "Wait.",
    )
    REPORT_NOT_SERVED = (
        "ReportNotServed",
        Kind.INFORMATIVE,
        "The serving image does not report what its engine got.",
        "Read the line with `KV cache size` in the log of the pod.",
    )
    REPORT_UNREACHABLE = (
        "ReportUnreachable",
        Kind.INFORMATIVE,
        "A pod did not send the report of its engine; the operator retries.",
        "Allow port 9000 from the operator's namespace, in NetworkPolicies and in a mesh with mTLS in mode STRICT.",
    )
    REPORT_UNREADABLE = (
        "ReportUnreadable",
        Kind.INFORMATIVE,
        "The report of an engine is not valid.",
        "Use a serving image of this version of the operator.",
    )
    KV_CACHE_SIZE_UNKNOWN = (
        "KVCacheSizeUnknown",
        Kind.INFORMATIVE,
        "The engine runs on a CPU and does not report the size of its KV cache.",
    )
    MAX_MODEL_LEN_DIFFERS = (
        "MaxModelLenDiffers",
        Kind.INFORMATIVE,
        "The engine uses another `maxModelLen` than planned.",
        "Report it with the message.",
    )
    GPU_MEMORY_DIFFERS = (
        "GPUMemoryDiffers",
        Kind.INFORMATIVE,
        "The GPU has another amount of memory than planned.",
        "Correct `spec.resources.gpu.memoryGiB` or the labels of the node.",
    )
    WEIGHTS_DIFFER = (
        "WeightsDiffer",
        Kind.INFORMATIVE,
        "The weights need another amount of memory than planned.",
        "Report it with the message and the model.",
    )
    NON_TORCH_MEMORY_DIFFERS = (
        "NonTorchMemoryDiffers",
        Kind.INFORMATIVE,
        "Memory outside PyTorch, such as the CUDA context, differs from the plan.",
        "Check whether another process uses the GPU; else report it with the message.",
    )
    ACTIVATION_MEMORY_DIFFERS = (
        "ActivationMemoryDiffers",
        Kind.INFORMATIVE,
        "The peak of the activations differs from the plan.",
        "Report it with the message and the model.",
    )
    CUDA_GRAPH_MEMORY_DIFFERS = (
        "CUDAGraphMemoryDiffers",
        Kind.INFORMATIVE,
        "The CUDA graphs need another amount of memory than planned.",
        "Report it with the message and the model.",
    )
    KV_CACHE_DIFFERS = (
        "KVCacheDiffers",
        Kind.INFORMATIVE,
        "The KV cache has another size than planned.",
        "Report it with the message and the model.",
    )
    KV_CACHE_LAYOUT_DIFFERS = (
        "KVCacheLayoutDiffers",
        Kind.INFORMATIVE,
        "One byte of the KV cache holds another number of tokens than planned.",
        "Report it with the message and the model.",
    )
