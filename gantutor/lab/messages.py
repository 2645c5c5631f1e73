"""Every text of the interface that is no setting's and no view's, by name; the front end is given the same table.

The texts are English. Another language is a table from them to its own, in LANGUAGES: those of the settings
(`gantutor.configs`) can be in it, too, and what it lacks stays English. GANTUTOR_LANGUAGE=de chooses it.
"""

import os

ENGLISH = {
    # The bar
    "play": "Play",
    "pause": "Pause",
    "step": "Step",
    "reset": "Reset",
    "slow": "Slow",
    "draw": "Draw",
    "larger": "Larger type",
    "play_help": "Train until Pause.",
    "step_help": "One update of D and G.",
    "half_help": "One update of {player} alone.",
    "reset_help": "Start again from the seed, as the controls say.",
    "slow_help": "Slow motion: Play and Step show the phases of a step one after the other.",
    "draw_help": "Draw the data yourself.",
    "larger_help": "Larger type and pictures, for a projector.",
    "panel": "Live training panel",
    "bar": "Run",
    # The phases of a step, in slow motion
    "D_before": "D sees real and fake",
    "D_after": "D's update",
    "G_before": "G's fakes, and where its loss pushes them",
    "G_after": "G's update",
    # Data that the learner draws
    "draw_here": "Draw where real points should lie: with the pointer, or with arrow keys and Space.",
    "draw_use": "Train on it",
    "draw_undo": "Undo",
    "draw_cancel": "Cancel",
    "pen_down": "The pen is down at {x}, {y}.",
    "pen_up": "The pen is up at {x}, {y}.",
    # The settings
    "settings": "Settings",
    "at_reset": "These apply at Reset",
    "refused": "Not possible now: {reason}",
    "of_run": "{label}, run {run}",
    # The time slider and the charts
    "time": "Look back",
    "time_at": "step {step}",
    "live": "Back to now",
    "axis_step": "step",
    "real": "real",
    "fake": "fake",
    "more": "{title} Arrow keys read its values.",
    # The status line
    "waiting": "Waiting for the kernel: is a cell running?",
    "no_kernel": "This panel needs a running kernel: run its cell again.",
    "playing": "playing",
    "paused": "paused",
    "planned_end": "paused: step {step} is the last that was planned",
    "from_step": "{field} = {value} from step {step} on",
    "later": "{field} = {value} applies at Reset",
    "went_back": "{reason} The run goes on with {field} = {value}.",
    "mark": "{field} → {value}",
    "none": "none",
    # The line beside the buttons
    "line_step": "step {step}",
    "line_rate": "{rate:.0f} steps/s",
    "compiling": "compiling",
    # A saved page
    "title": "A recorded run: {steps} steps",
    "recording": "recording {what}",
    "recorded": "recorded: {runs} runs of {steps} steps",
    "speed": "Playing speed",
    "page_needs": "This page needs JavaScript, and a browser of 2023 or later.",
    # The cost meter
    "meter": "The cost of a step, by setting",
    "meter_step": "a step: G, D; forward pale, backward full",
    "meter_flops": "FLOPs",
    "meter_kept": "kept",
    "meter_time": "time",
    "meter_steps": "steps",
    "meter_total": "So far {flops} FLOPs in {steps} steps.",
    "meter_raises": "raises {error}",
    # Paint
    "paint": "Paint",
    "paint_here": "Draw here",
    "paint_result": "What the generator makes of it",
    "paint_alt": "{title}: {colours}",
    "paint_took": "{ms:.0f} ms",
    "paint_tools": "Tools",
    "paint_brush": "Brush",
    "paint_rectangle": "Rectangle",
    "paint_ellipse": "Ellipse",
    "paint_fill": "Fill",
    "paint_eraser": "Eraser",
    "paint_pick": "Pick",
    "paint_mirror": "Mirror",
    "paint_undo": "Undo",
    "paint_redo": "Redo",
    "paint_save": "Save",
    "paint_brush_help": "Paint with a round brush (B)",
    "paint_rectangle_help": "From corner to corner (R)",
    "paint_ellipse_help": "From corner to corner (O)",
    "paint_fill_help": "All that hangs together in one colour (F)",
    "paint_eraser_help": "Paint the background (E)",
    "paint_pick_help": "Take a colour from any of the pictures (I, or Alt and a click)",
    "paint_mirror_help": "Draw left and right alike (M)",
    "paint_undo_help": "Undo (Ctrl+Z)",
    "paint_redo_help": "Redo (Ctrl+Y)",
    "paint_save_help": "Save all pictures as one PNG",
    "paint_size": "Size",
    "paint_size_help": "The brush's size (+ and -)",
    "paint_palette": "Colours",
    "paint_any": "Any other colour",
    "paint_examples": "Start from",
    "paint_empty": "Empty page",
    "paint_example": "Example {number}",
    "paint_at": "Column {x}, row {y}: {colour}",
    "paint_colour": "Colour: {colour}",
    "paint_keys": "{side} by {side} pixels. Arrow keys move, Shift faster. Space starts a stroke and ends it. "
    "[ and ] change the colour, digits choose one. + and - change the size. B brush, R rectangle, O ellipse, F fill, "
    "E eraser, I pick, M mirror. Escape takes a stroke back. Ctrl+Z undo, Ctrl+Y redo.",
    "replay_drawing": "The drawing",
    "replay_time": "Drawing",
    "replay_at": "{at} of {count}",
    # The debugger: its controls
    "debugger": "Step debugger",
    "go": "Lines",
    "first": "Start",
    "back": "Back",
    "next": "Next",
    "last": "End",
    "to_error": "Error",
    "first_help": "To before the first line (Home)",
    "back_help": "One line back (left arrow)",
    "next_help": "Run the next line (right arrow)",
    "last_help": "Run to the end (End)",
    "to_error_help": "Run to the line that raises",
    "lines_run": "lines run",
    "lines_run_of": "{position} of {last} lines",
    "code": "Code of {title}",
    # The debugger: what happened
    "nothing_yet": "Nothing has run yet. Press Next to run the first line.",
    "line": "Line {number}: {text}",
    "line_again": "Line {number} again, time {again}: {text}",
    "raises": "{line} raises {error}.",
    "cut": "The graph is cut here: no backward gets through {what} to {behind}.",
    "cut_memory": "{what} has the same numbers as {source}, in the same memory, but no graph. "
    "A backward stops there and does not reach {behind}.",
    "reaches": "A backward from {names} reaches {networks}.",
    "reaches_not": "A backward from {names} reaches {networks}, but not {others}.",
    "clears": "The gradients in {networks} are cleared.",
    "clears_nothing": "The gradients in {networks} are cleared, but there were none.",
    "sends": "{loss} sends a gradient to {networks}.",
    "nobody": "no network",
    "stops": "It stops at {where}, before it reaches {networks}.",
    "frees": "Then its graph is freed: a second backward through it would raise an error.",
    "keeps": "Its graph is kept for another backward.",
    "moves": "{optimizer} updates {networks} with the gradient of {losses}.",
    "moves_nothing": "{optimizer} updates nothing.",
    "no_change": "This line changes no graph, no gradient and no weight.",
    "and": "{first} and {last}",
    # The debugger: its drawing and tables
    "drawing": "{title}. Gradients: {gradients}. Graphs: {graphs}.",
    "graph_alive": "graph",
    "graph_freed": "freed",
    "graph_stale": "stale",
    "graph_no graph": "no graph",
    "graph_data": "data",
    "norm": "‖∇‖ {norm:.2g}",
    "no_gradient": "∇ none",
    "cleared": "cleared",
    "updated": "updated",
    "frozen": "frozen",
    "folded": "Not touched by this line:",
    "legend_alive": "graph",
    "legend_freed": "graph freed",
    "legend_cut": "graph cut",
    "legend_data": "data only",
    "legend_sent": "gradient",
    "sender": "{loss} (line {line})",
    "before": "before the step",
    "earlier": "{count} earlier and",
    "networks": "Gradients in the networks",
    "network": "network",
    "gradient": "‖∇‖",
    "from": "from",
    "tensors": "tensors",
    "of": "{part} of {whole}",
    "updates": "updated on line",
    "batches": "BatchNorm counted",
    "variables": "Variables",
    "variable": "tensor",
    "shape": "shape",
    "graph": "graph",
    "requires_grad": "requires_grad",
    "version": "version",
    "shares": "same memory as",
    "number": "= {value:.3g}",
    "kept": "kept for backward",
    "computed": "computed so far",
    "flops": "{flops} FLOPs, {ms:.1f} ms",
    "write": "Write:",
}

# What the texts of a saved page say instead.
ENGLISH_RECORDED = {
    "play_help": "Play the recording.",
    "step_help": "To the next frame.",
    "reset": "Start",
    "reset_help": "Back to the first frame.",
    "at_reset": "Recorded with one value only",
    "time": "Frame",
    "not_recorded": "No run was recorded with {field} = {value}.",
    "one_value": "No run was recorded with another value.",
    "paused": "This page plays a recording; nothing is trained here.",
}

LANGUAGES: dict[str, dict[str, str]] = {}  # by code, as "de": from the English text to the language's

LANGUAGE = LANGUAGES.get(os.environ.get("GANTUTOR_LANGUAGE", "en"), {})


def translated(text: str) -> str:
    """The text in the chosen language, or as it is where the language has none."""
    return LANGUAGE.get(text, text)


TEXTS = {name: translated(text) for name, text in ENGLISH.items()}
RECORDED_TEXTS = {name: translated(text) for name, text in ENGLISH_RECORDED.items()}


def say(name: str, **values: object) -> str:
    """The text of that name, with its values."""
    return TEXTS[name].format(**values)
