"""Who holds the GPUs that a pod waits for, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_NAMED_USERS = 5
"""Maximum number of users of a class that a message names."""
_NAMED_CLASSES = 3
# Priorities above it belong to the system: no PriorityClass that a user makes exceeds them.
_HIGHEST_PRIORITY = 1_000_000_000


@dataclass(frozen=True, slots=True)
class GPUUser:
    """A user of GPUs of a class.

    Attributes:
        who: LLMDeployment NAMESPACE/NAME, or pod NAMESPACE/NAME.
        priority: of the pods.
    """

    who: str
    gpus: int
    priority: int

    def __str__(self) -> str:
        return f"{self.who} {self.gpus}" + (f" (priority {self.priority})" if self.priority else "")


@dataclass(frozen=True, slots=True)
class ClassOfGPUs:
    """The GPUs of one class on which a pod may land.

    Attributes:
        product: what the class is called; "" if it is not known.
        most_free: free ones on the node that has most of them.
        users: the biggest `MAX_NAMED_USERS`, biggest first.
        more, used_by_more: how many others there are, and how many GPUs they hold together.
    """

    product: str
    count: int
    free: int
    most_free: int
    users: Sequence[GPUUser]
    more: int = 0
    used_by_more: int = 0


@dataclass(frozen=True, slots=True)
class GPUUse:
    """One extended resource, as a pod of an LLMDeployment finds it.

    Attributes:
        resource: for example nvidia.com/gpu.
        offered: how many all nodes offer.
        largest_node: how many the largest node offers on which the pod may land.
        classes: of the GPUs on which it may land.
        yields: a pod of a higher priority than this may preempt others and then has room; None where none would.
        by_dra: of those on which it may land, how many only DRA reports.
        room: how many more pods the free ones are enough for, node by node.
        complete: whether the pods of all namespaces were seen.
        own: how many pods of the LLMDeployment hold some, by the same lists as `room`.
    """

    resource: str
    offered: int
    largest_node: int
    classes: Sequence[ClassOfGPUs]
    yields: int | None
    by_dra: int
    complete: bool
    room: int = 0
    own: int = 0

    @property
    def exact(self) -> bool:
        """Whether all who hold GPUs are known."""
        return self.complete and not self.by_dra


def explain(use: GPUUse, needed: int, preempts_below: int | None) -> str:
    """Sentences with who holds the GPUs and what would help.

    Args:
        needed: GPUs that one pod needs on one node.
        preempts_below: the pod may preempt pods of a lower priority than this; None if it preempts none.
    """
    if use.offered == 0:
        return (
            f"No node offers {use.resource}. Install the device plugin of the GPUs, add a GPU node, "
            "or name the right resource in spec.resources.gpu.resourceName."
        )
    if use.largest_node == 0:
        return (
            f"No node that offers {use.resource} has the labels of spec.scheduling.nodeSelector and the product of "
            "spec.resources.gpu.product. Correct them, or add such a node."
        )
    if needed > use.largest_node:
        return (
            f"A pod needs {needed} {use.resource} on one node, and the largest node has {use.largest_node}. "
            "Lower spec.engine.tensorParallelSize or pipelineParallelSize, or add a larger node."
        )
    sentences = [f"A pod needs {needed} {use.resource} on one node."]
    sentences += [_class(one, use.exact) for one in use.classes[:_NAMED_CLASSES]]
    if more := use.classes[_NAMED_CLASSES:]:
        free = _free(sum(one.free for one in more), exact=use.exact)
        sentences.append(f"Of {sum(one.count for one in more)} of {len(more)} more classes, {free}.")
    if not use.complete:
        sentences.append(
            "Only pods that the operator may list are counted: pods of other namespaces may hold some of them."
        )
    if use.by_dra:
        sentences.append(
            f"{use.by_dra} of them are reported by DRA only: pods get them where a DeviceClass has the "
            f"extendedResourceName {use.resource}, and who holds them by a ResourceClaim is not counted."
        )
    return " ".join([*sentences, _advice(use, needed, preempts_below)])


def _class(one: ClassOfGPUs, exact: bool) -> str:
    spread = f", at most {one.most_free} on one node" if one.most_free < one.free else ""
    by = ", ".join(str(user) for user in one.users)
    rest = f", and {one.more} more hold {one.used_by_more}" if one.more else ""
    held = f"; held by {by}{rest}" if by else ""
    return f"Of {one.count} {one.product or 'of unknown memory'}, {_free(one.free, exact=exact)}{spread}{held}."


def _free(count: int, *, exact: bool) -> str:
    if count == 0:
        return "none is free"
    return f"{'' if exact else 'at most '}{count} {'is' if count == 1 else 'are'} free"


def _advice(use: GPUUse, needed: int, preempts_below: int | None) -> str:
    if use.exact and max(one.most_free for one in use.classes) >= needed:
        return (
            "One node has enough of them free: the scheduler has not tried it again yet, or something else that it "
            "names keeps the pod off that node."
        )
    usual = "Scale down or delete one of those users, or add a GPU node"
    if use.yields is None or use.yields >= _HIGHEST_PRIORITY:
        return f"{usual}."
    if preempts_below is not None and use.yields < preempts_below:
        return f"{usual}. Pods of a lower priority hold enough of them: the scheduler may end those for this pod."
    return (
        f"{usual}, or name a preempting PriorityClass of more than {use.yields} in spec.scheduling.priorityClassName: "
        "its pods take the place of others."
    )
