"""The playground as a visitor has it: dragged, switched, sent as a link, and copied as a script."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playground_twin import DOCS, PHONE, WIDE, served, visits
from playwright.sync_api import Browser, Page, expect

from gantutor.gan import GAN
from gantutor.ledger import trace
from gantutor.losses import LOSSES
from gantutor.models import mlp_points
from gantutor.pitfalls import PITFALLS
from gantutor.plots import COLOURS
from gantutor.steps import STEPS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The playground, served under a path of its own."""
    with served(DOCS) as root:
        yield f"{root}playground/"


class Visit:
    """A visitor's page, once it has its first frame."""

    def __init__(self, page: Page) -> None:
        self.page = page
        expect(page.locator("body")).to_have_attribute("data-steps", re.compile(r"\d+"))

    @property
    def lines(self) -> list[str]:
        """The lines as Python, without what is switched off."""
        found: list[str] = self.page.locator(".line > code").evaluate_all(
            """codes => codes.map(function read(node) {
                if (node.matches?.('.chip[aria-pressed=false]:not(.swap)')) return '';
                return node.childElementCount ? [...node.childNodes].map(read).join('') : node.textContent;
            })"""
        )
        return found

    @property
    def steps(self) -> int:
        return int(self.page.locator("body").get_attribute("data-steps") or 0)

    def trains_on(self) -> None:
        """Wait until there are more steps than now."""
        before = self.steps
        self.page.wait_for_function(f"Number(document.body.dataset.steps) > {before}", timeout=20_000)

    def control(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True)

    def handle(self, line: int) -> Any:
        """The handle of a line, counted from 1."""
        return self.page.locator(".handle").nth(line - 1)

    def note(self, line: int) -> Any:
        return self.page.locator(".note").nth(line - 1)

    def switch(self, line: int, name: str) -> Any:
        return self.page.locator(".line").nth(line - 1).get_by_role("button", name=name, exact=True)


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Any]:
    """`visit(fragment, **context)` opens the playground."""
    with visits(browser, address) as visit:
        yield lambda fragment="", query="", **context: Visit(visit(f"{query}{fragment and '#' + fragment}", **context))


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["1366", "390"])
def test_it_trains_and_draws_at_once(visit: Any, size: dict[str, int], scheme: str) -> None:
    seen = visit(viewport=size, color_scheme=scheme)
    seen.trains_on()
    picture, play = seen.page.locator(".plane canvas"), seen.page.get_by_role("button", name="Pause")
    first = picture.screenshot()
    seen.trains_on()
    assert picture.screenshot() != first
    play.click()
    expect(seen.page.get_by_role("button", name="Play")).to_be_visible()
    seen.page.wait_for_timeout(500)  # for what was on its way
    still, steps = picture.screenshot(), seen.steps
    seen.page.wait_for_timeout(300)
    assert (picture.screenshot(), seen.steps) == (still, steps)
    seen.page.get_by_role("button", name="Step", exact=True).click()
    expect(seen.page.locator("body")).to_have_attribute("data-steps", str(steps + 1))
    assert seen.page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_the_whole_step_and_its_effect_are_on_one_screen_in_the_course_s_colours(visit: Any) -> None:
    seen = visit(color_scheme="light")
    for what in (".plane canvas", ".line:last-child", ".bars .group:last-child", ".charts canvas"):
        box = seen.page.locator(what).bounding_box()
        assert box["y"] + box["height"] <= WIDE["height"]
    for name in ("D", "G", "real", "fake"):
        found = seen.page.evaluate(
            """name => { const probe = document.body.appendChild(document.createElement('i'));
            probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; }""",
            name,
        )
        red, green, blue = (int(COLOURS[name][i : i + 2], 16) for i in (1, 3, 5))
        assert found == f"rgb({red}, {green}, {blue})"


def drag(page: Page, start: Any, end: Any) -> None:
    """Drag by the mouse, from the middle of one element past the middle of another."""
    a, b = start.bounding_box(), end.bounding_box()
    x, y = a["x"] + a["width"] / 2, a["y"] + a["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, (y + b["y"]) / 2, steps=4)
    page.mouse.move(x, b["y"] + b["height"] / 2 + (4 if b["y"] > a["y"] else -4), steps=4)
    page.mouse.up()


def test_a_line_dragged_by_the_mouse(visit: Any) -> None:
    """The kept graph is stale because D moves first. If D moves at the end, it trains."""
    seen = visit("step=d_first_same_logits")
    expect(seen.note(9)).to_contain_text(
        "needs D.4.weight as it was on line 3, but line 6, opt_D.step(), has changed it"
    )
    expect(seen.page.locator(".status")).to_contain_text("stopped at line 9")
    before, box = seen.lines, seen.page.locator(".line").nth(1).bounding_box()
    seen.page.mouse.move(box["x"] + 120, box["y"] + 10)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + 120, box["y"] + 200, steps=5)
    seen.page.keyboard.press("Escape")  # this drag is given up
    seen.page.mouse.up()
    assert seen.lines == before
    drag(seen.page, seen.handle(6), seen.handle(10))
    assert seen.lines == [*before[:5], *before[6:], "opt_D.step()"]
    seen.trains_on()
    expect(seen.page.locator(".raises")).to_have_count(0)
    seen.page.locator(".head").get_by_role("button", name="Undo").click()
    assert seen.lines == before
    expect(seen.note(9)).to_contain_text("as it was on line 3")


def test_a_line_dragged_by_a_finger(visit: Any) -> None:
    """The handle takes the line along; elsewhere the finger scrolls the page."""
    seen = visit("step=g_first_no_detach", viewport=PHONE, has_touch=True, is_mobile=True)
    expect(seen.note(9)).to_contain_text("freed what it had saved")
    seen.handle(7).scroll_into_view_if_needed()
    before, touch = seen.lines, seen.page.context.new_cdp_session(seen.page)
    box, to = seen.handle(7).bounding_box(), seen.handle(5).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def send(kind: str, *points: dict[str, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    send("touchStart", {"x": x, "y": y})
    for share in (0.3, 0.6, 1):
        send("touchMove", {"x": x, "y": y + share * (to["y"] + to["height"] / 2 - 4 - y)})
    send("touchEnd")
    expect(seen.page.locator(".line > code").nth(4)).to_contain_text("logits_real")
    assert seen.lines == [*before[:4], before[6], *before[4:6], *before[7:]]


def test_the_keyboard_moves_and_removes(visit: Any) -> None:
    seen = visit()
    before, said = seen.lines, seen.page.get_by_role("status")
    seen.handle(7).focus()
    seen.page.keyboard.press("ArrowUp")
    assert seen.lines == [*before[:5], "opt_G.zero_grad()", "opt_D.step()", *before[7:]]
    expect(said).to_have_text("opt_G.zero_grad() is now line 6.")
    expect(seen.handle(6)).to_be_focused()
    seen.page.keyboard.press("Home")
    assert seen.lines == ["opt_G.zero_grad()", *before[:6], *before[7:]]
    seen.page.keyboard.press("Delete")
    assert seen.lines == [*before[:6], *before[7:]]
    expect(said).to_have_text("opt_G.zero_grad() is removed.")
    seen.page.locator(".more summary").press("Enter")
    seen.page.get_by_role("button", name="Add opt_G.zero_grad() at the end").press("Enter")
    assert seen.lines == [*before[:6], *before[7:], "opt_G.zero_grad()"]


def test_switches(visit: Any) -> None:
    """Without detach g_loss meets a freed graph. With retain_graph it trains, and that is the other strategy."""
    seen = visit()
    detach = seen.switch(3, ".detach()")
    expect(detach).to_have_attribute("aria-pressed", "true")
    detach.press("Space")
    expect(detach).to_be_focused()
    assert "D(fake)" in seen.lines[2]
    expect(seen.note(9)).to_contain_text("goes back through the graph of fake, but line 5, d_loss.backward()")
    seen.note(9).locator("summary").click()
    expect(seen.note(9)).to_contain_text("Specify retain_graph=True if you need to backward through the graph a second")
    expect(seen.control("Start from")).to_have_value("d_first_rescored")
    seen.switch(5, "retain_graph=True").click()
    seen.trains_on()
    expect(seen.control("Start from")).to_have_value("d_first_retain_graph")
    assert "#step=d_first_retain_graph" in seen.page.url


def what_the_ledger_finds(pitfall: str) -> str:
    """The first sentence of the one finding in the second step of a pitfall, without its code spans."""
    torch.manual_seed(0)
    gan = GAN.with_adam(*mlp_points())
    step, batch = PITFALLS[pitfall].step, (torch.randn(8, 2), torch.randn(8, 2))
    step(gan, *batch)
    (finding,) = trace(step, gan, *batch).findings
    return finding.what.replace("`", "")


def test_a_gradient_that_nothing_clears(visit: Any) -> None:
    seen = visit("step=d_first_no_zero_grad_D")
    expect(seen.note(5)).to_contain_text(what_the_ledger_finds("d_first_no_zero_grad_D"))
    expect(seen.page.locator(".group").first.locator(".from-earlier")).to_be_visible()


def test_weights_that_are_no_numbers_break_nothing(visit: Any) -> None:
    seen = visit("step=simultaneous&loss=wgan&optimizer=sgd&lr_G=1&lr_D=1")
    expect(seen.page.locator(".legend")).to_contain_text("NaN")
    seen.trains_on()
    seen.page.get_by_role("button", name="Reset").click()
    seen.trains_on()


def test_what_a_wrong_gradient_is_made_of(visit: Any) -> None:
    seen = visit("step=d_first_early_zero_grad")
    expect(seen.note(10)).to_contain_text(f"{what_the_ledger_finds('d_first_early_zero_grad')} Nothing raises.")
    group = seen.page.locator(".group").nth(1)
    expect(group).to_contain_text("opt_G.step() moves G by")
    expect(group.locator(".from-d_loss")).to_be_visible()
    expect(group.locator(".from-g_loss")).to_be_visible()
    seen.note(10).get_by_role("button", name="D first, retain_graph").click()
    expect(group.locator(".from-d_loss")).to_be_hidden()
    expect(seen.page.locator(".warns")).to_have_count(0)


def test_a_link_has_all_that_is_set(visit: Any) -> None:
    seen = visit(permissions=["clipboard-read", "clipboard-write"])
    seen.control("Loss").select_option("hinge")
    seen.control("Optimizer").select_option("sgd")
    seen.control("Seed").fill("7")
    seen.control("Seed").press("Enter")
    seen.control("lr D").fill("-2")
    seen.switch(1, "torch.no_grad()").click()
    seen.page.get_by_role("button", name="Copy link").click()
    expect(seen.page.get_by_role("button", name="Link copied")).to_be_visible()
    link = seen.page.evaluate("navigator.clipboard.readText()")
    other = visit(link.split("#")[1])
    assert other.lines == seen.lines
    assert other.lines[0] == "with torch.no_grad(): fake = G(z)"
    for label in ("Loss", "Optimizer", "Seed", "lr D"):
        assert other.control(label).input_value() == seen.control(label).input_value()
    assert other.control("Loss").input_value() == "hinge"


def test_an_address_that_means_nothing_gives_the_defaults(visit: Any) -> None:
    seen = visit("step=fake.<img src=x onerror=alert(1)>&loss=x&seed=-1&lr_G=9")
    assert len(seen.lines) == 10
    expect(seen.control("Loss")).to_have_value("non-saturating")
    assert seen.page.locator("img").count() == 0
    found = seen.page.evaluate(
        """async () => { const { DEFAULTS, readState } = await import(new URL('state.js', document.baseURI));
        return ['#step=nonsense', '#step=fake-retain', '#%'].map(hash => [readState(hash), DEFAULTS]); }"""
    )
    assert all(state == defaults for state, defaults in found)


def scripts(page: Page) -> dict[str, str]:
    """The script of each arrangement, and of each loss that the page offers."""
    found: dict[str, str] = page.evaluate(
        """async () => {
          const at = name => import(new URL(name, document.baseURI));
          const [{ script }, { ARRANGEMENTS, parse }, { DEFAULTS }, { LOSSES }] =
            await Promise.all(['script.js', 'step.js', 'state.js', 'losses.js'].map(at));
          const made = (step, more) => script(parse(step), { ...DEFAULTS, ...more });
          return Object.fromEntries([...Object.keys(ARRANGEMENTS).map(step => [step, made(step, {})]),
            ...Object.keys(LOSSES).map(loss => [loss, made('d_first_detach', { loss, optimizer: 'sgd' })]),
            ['hinge, one stage', made('one_stage', { loss: 'hinge' })], ['no line', made('', {})]]);
        }"""
    )
    return found


def test_each_script_runs_or_raises_as_it_should(visit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = scripts(visit().page)
    assert found.keys() >= STEPS.keys() | PITFALLS.keys() | {n for n, loss in LOSSES.items() if not loss.has_penalty}
    for name, source in found.items():
        code = compile(source.replace("STEPS = 2000", "STEPS = 2"), name, "exec")
        raises = PITFALLS[name].raises if name in PITFALLS else "no slope ratio" if name == "hinge, one stage" else ""
        if raises:
            with pytest.raises((RuntimeError, ValueError), match=raises):
                exec(code, {})
        else:
            exec(code, {})
            assert "grad_fn" in capsys.readouterr().out  # the points that it prints at the end


def test_copy_gives_a_script_that_runs_by_itself(
    visit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = visit("step=simultaneous&loss=wgan", permissions=["clipboard-read", "clipboard-write"])
    seen.page.get_by_role("button", name="Copy as PyTorch").click()
    expect(seen.page.get_by_role("button", name="Copied")).to_be_visible()
    script = tmp_path / "step.py"
    script.write_text(seen.page.evaluate("navigator.clipboard.readText()").replace("STEPS = 2000", "STEPS = 200"))
    assert all(f"    {line}\n" in script.read_text() for line in seen.lines)
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.startswith("200 {'d_loss': ")


def test_every_arrangement_of_the_course_can_be_chosen(visit: Any) -> None:
    seen = visit("rate=10")
    start = seen.control("Start from")
    for name in STEPS | PITFALLS:
        start.select_option(name)
        pitfall = PITFALLS.get(name)
        expect(seen.page.locator(".raises")).to_have_count(1 if pitfall and pitfall.raises else 0)
        expect(seen.page.locator(".warns")).to_have_count(1 if pitfall and pitfall.wrong else 0)
        if pitfall:
            label = seen.page.locator(f"option[value={pitfall.fixed}]").text_content()
            expect(seen.page.locator(".note button").first).to_contain_text(label)
    dares = seen.page.locator(".dares button").all()
    for dare, name in zip(
        dares, ["d_first_rescored", "d_first_same_logits", "d_first_early_zero_grad", "simultaneous"], strict=True
    ):
        dare.click()
        expect(start).to_have_value(name)
    seen.trains_on()


def test_embedded(visit: Any) -> None:
    seen = visit("step=one_stage", query="?embed", viewport={"width": 900, "height": 520})
    seen.trains_on()
    expect(seen.page.get_by_role("button", name="Copy as PyTorch")).to_have_count(0)
    for hidden in (".charts", ".help"):
        expect(seen.page.locator(hidden).first).to_be_hidden()
    link = seen.page.get_by_role("link", name="Open the playground").get_attribute("href")
    assert link.endswith("/playground/#step=one_stage")


def test_reduced_motion_waits_for_play(visit: Any) -> None:
    seen = visit(reduced_motion="reduce")
    seen.page.wait_for_timeout(300)
    assert seen.steps == 0
    seen.page.get_by_role("button", name="Play").click()
    seen.trains_on()
