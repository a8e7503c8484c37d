"""Each check of `make verify` fails on a bad example and is silent on a good one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import prose, sources, unused, verify

GOOD = '"""A module."""\n\n\ndef double(value: int) -> int:\n    return 2 * value\n'
LOGIC = """
    total = 0
    for item in values:
        if item > 3:
            total += item * 2
        elif item < -3:
            total -= item
        else:
            total += 1
    return total + len(values)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small clean repository with one file in each checked folder."""
    for folder in ("operator/src", "tools"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "operator/src/good.py").write_text(GOOD)
    (tmp_path / "tools/also_good.py").write_text(GOOD.replace("double", "twice"))
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


def add(tree: Path, name: str, text: str) -> None:
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text(text)


BAD = {
    "types": (verify.TYPES, "tools/bad.py", "def double(value):\n    return 2 * value\n", "no-untyped-def"),
    "lint": (verify.LINT, "bad.py", "import os\n", "F401"),
    "format": (verify.FORMAT, "bad.py", "x = {  1:2 }\n", "bad.py"),
    "long function": (verify.FUNCTIONS, "bad.py", "def f():\n" + "    pass\n" * 60, "f has 61 lines"),
    "broken file": (verify.FUNCTIONS, "bad.py", "def f(:\n", "SyntaxError"),
    "home folder": (verify.NAMES, "notes.md", "see /home/" + "jane/models/llama\n", "notes.md:1: "),
    "registry": (verify.NAMES, "pip.conf", "index-url = https:" + "//pkgs.corp.example/simple\n", "pkgs.corp.example"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_found(tree: Path, case: str) -> None:
    check, name, text, said = BAD[case]
    add(tree, name, text)
    assert said in verify.outcome(check, tree).problems


@pytest.mark.parametrize("check", {check.name: check for check, *_ in BAD.values()}.values(), ids=lambda c: c.name)
def test_a_clean_repository_passes(tree: Path, check: verify.Check) -> None:
    assert verify.outcome(check, tree).problems == ""


def test_logic_that_is_written_twice_is_found_but_not_in_tests(tree: Path) -> None:
    add(tree, "operator/src/one.py", f"def one(values: list[int]) -> int:{LOGIC}")
    add(tree, "e2e/two.py", f"def another(values: list[int]) -> int:{LOGIC}")
    add(tree, "tools/tests/three.py", f"def third(values: list[int]) -> int:{LOGIC}")
    problems = verify.outcome(verify.DUPLICATES, tree).problems
    assert "Similar lines in 2 files\n==one:[1:10]\n==two:[1:10]" in problems


AGAINST_THE_LAYERS = {
    "api/names.py": ("import triton_vllm_operator.plan.actions", "Dependencies go down only"),
    "plan/drift.py": ("import asyncio", "The domain is pure"),
    "kube/errors.py": ("import kopf", "kopf only in the controller"),
    "cli/plan/table.py": (
        "import triton_vllm_operator.controller.health",
        "The command line stands without the operator",
    ),
    "controller/health.py": ("import kubernetes", "The Kubernetes client only in kube"),
}


def test_an_import_against_a_layer_is_found(tmp_path: Path) -> None:
    package = tmp_path / "operator/src/triton_vllm_operator"
    for folder in ("operator/src/triton_vllm_operator", "contract", "images/triton-vllm/backend"):
        shutil.copytree(verify.ROOT / folder, tmp_path / folder)
    for module, (line, _) in AGAINST_THE_LAYERS.items():
        with (package / module).open("a") as file:
            file.write(f"\n{line}\n")
    problems = verify.outcome(verify.LAYERS, tmp_path).problems
    kept = [contract for _, contract in AGAINST_THE_LAYERS.values() if not re.search(f"{contract}.* BROKEN", problems)]
    assert kept == []


def test_a_generated_file_that_was_edited_or_is_missing_is_stale(tmp_path: Path) -> None:
    fresh, edited, missing = (tmp_path / name for name in ("fresh", "edited", "missing"))
    fresh.write_text("as generated")
    edited.write_text("by hand")
    problems = list(sources.stale(dict.fromkeys((fresh, edited, missing), "as generated")))
    assert [problem.split()[0] for problem in problems] == [str(edited), str(missing)]
    assert all("make gen" in problem for problem in problems)


def test_a_function_of_sixty_lines_is_short_enough(tmp_path: Path) -> None:
    add(tmp_path, "edge.py", "def f():\n" + "    pass\n" * 59)
    assert list(sources.long_functions(tmp_path / "edge.py")) == []


@pytest.mark.parametrize(
    "line",
    [
        "cp x $HOME/root/file",
        "mount /rootfs/ and registry-1.docker.io",
        "https://pypi.org/simple is the index",
        'registry = "https://pypi.org/simple"',
        "PROXY=http://127.0.0.1:3128",
    ],
)
def test_public_names_and_lookalikes_are_allowed(tmp_path: Path, line: str) -> None:
    add(tmp_path, "file", line + "\n")
    assert list(sources.private_names(tmp_path / "file")) == []


def test_ignored_and_removed_files_are_not_checked(tree: Path) -> None:
    add(tree, ".gitignore", "*.log\n")
    add(tree, "run.log", "x")
    add(tree, "gone.py", "x = 1\n")
    subprocess.run(["git", "add", "gone.py"], cwd=tree, check=True)
    (tree / "gone.py").unlink()
    names = {path.relative_to(tree).as_posix() for path in sources.tracked(tree)}
    assert names == {".gitignore", "operator/src/good.py", "tools/also_good.py"}


def test_every_check_runs_and_one_failure_is_a_failure(tmp_path: Path) -> None:
    said: list[str] = []
    checks = [verify.Check("good", lambda root: ""), verify.Check("bad", lambda root: "line 1\nline 2")]
    assert not verify.verify(checks, tmp_path, said.append)
    assert verify.verify(checks[:1], tmp_path, said.append)
    assert [line.split()[:2] for line in sorted(said)] == [["bad", "FAILED"], ["good", "ok"], ["good", "ok"]]
    assert "\n    line 1\n    line 2" in "".join(said)


def test_a_tool_that_is_missing_is_a_failure_and_not_silence(tmp_path: Path) -> None:
    missing = verify.Check("x", verify.tool("no-such-tool"))
    assert "no-such-tool" in verify.outcome(missing, tmp_path).problems


def found_in(tmp_path: Path, name: str, text: str) -> list[str]:
    add(tmp_path, name, text)
    read = prose.in_document if name.endswith(".md") else prose.in_python
    return [breach.rule.name for breach in read(tmp_path / name)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("It takes 8 bytes a token.", "rate"),
        ("One engine a pod, one address\na pod.", "rate"),
        ("There is no model: it is no LLM.", "is no"),
        ("A limit. Most sequences of a step.", "most"),
        ("The engine is started anew.", "word"),
        ("What the API server said.", "told"),
    ],
)
def test_a_breach_of_the_style_is_found_in_documents_and_docstrings(tmp_path: Path, text: str, rule: str) -> None:
    assert rule in found_in(tmp_path, "page.md", text)
    assert rule in found_in(tmp_path, "module.py", f'"""{text}"""\n')
    assert rule in found_in(tmp_path, "comment.py", "".join(f"# {line}\n" for line in text.splitlines()))


def test_plain_english_and_code_in_documents_are_not_breaches(tmp_path: Path) -> None:
    text = "There is no pod. It is no longer used. Most of the pods start a pod. At most 8 tokens per request.\n"
    assert found_in(tmp_path, "page.md", f"{text}`said`\n\n```\nis no model\n```\n") == []
    assert found_in(tmp_path, "module.py", f'"""{text}"""\n') == []


def test_words_to_avoid_are_found_in_public_names_of_production_code(tmp_path: Path) -> None:
    text = "class IsWanted:\n    told: int\n\ndef look(said: int) -> int: ...\n\ndef _told() -> int: ...\n"
    assert found_in(tmp_path, "module.py", text) == ["name"] * 4
    assert found_in(tmp_path, "outlook.py", "def outlook(target: int) -> int: ...\n") == []
    assert found_in(tmp_path, "tests/test_module.py", text) == []


def test_breaches_of_every_tracked_file_are_found(tree: Path) -> None:
    add(tree, "e2e/bad.py", '"""It is no module."""\n')
    (found,) = prose.breaches(tree)
    assert str(found).endswith("e2e/bad.py:1: 'is no': write \"is not a\"")


def test_names_of_published_weights_are_kept(tmp_path: Path) -> None:
    assert found_in(tmp_path, "module.py", "class Family:\n    query_gate: bool\n    entry_gate: bool\n") == ["name"]


def test_code_that_only_a_test_uses_is_unused(tree: Path) -> None:
    add(tree, "tools/more.py", "def kept() -> int:\n    return 1\n\n\ndef dead() -> int:\n    return kept()\n")
    add(tree, "tools/tests/test_more.py", "from tools.more import dead\n\nassert dead() == 1\n")
    assert "tools/more.py:5: nothing uses the function dead: remove it" in "\n".join(unused.unused(tree))


def test_a_misspelled_word_is_found(tree: Path) -> None:
    assert verify.outcome(verify.SPELLING, tree).problems == ""
    add(tree, "notes.md", "It is " + "sep" + "erate" + ".\n")
    assert "notes.md:1: " in verify.outcome(verify.SPELLING, tree).problems
