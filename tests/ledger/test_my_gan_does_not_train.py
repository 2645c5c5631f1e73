"""The page "My GAN does not train": its code runs, and what stands below it is what it prints."""

import re
from pathlib import Path

import pytest
from helpers import load_script

SCRIPT = Path(__file__).parents[2] / "docs" / "my_gan_does_not_train.py"
RIGHT = ("My GAN does not train", "How do I write it correctly?")  # the parts in which nothing is wrong


@pytest.fixture(scope="module")
def page() -> str:
    written: str = load_script(SCRIPT).page()
    return written


def test_the_page_is_what_its_code_prints(page: str) -> None:
    assert SCRIPT.with_suffix(".md").read_text(encoding="utf-8") == page, "run: python docs/my_gan_does_not_train.py"


def test_each_case_is_found_and_each_correct_step_is_not(page: str) -> None:
    parts = re.split(r"^##? (.+)$", page, flags=re.MULTILINE)[1:]
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        printed = re.findall(r"^```text\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        calls = len(re.findall(r"^ *findings\(\w", text, flags=re.MULTILINE))
        assert len(printed) == calls or "never_cleared" in text
        assert all((each == "Nothing found.\n") == (title in RIGHT) for each in printed), title


def test_questions_that_no_notebook_answers_have_a_heading(page: str) -> None:
    headings = " ".join(re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE))
    for question in (
        "create_graph",
        "R1",
        "Accumulation",
        "history keeps losses",
        "GradScaler",
        "DDP with two forwards",
    ):
        assert question in headings
    assert "Several disc" in headings
