"""Every text of the interface that is no setting's and no view's, by name; the front end is given the same table."""

TEXTS = {
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
}


def say(name: str, **values: object) -> str:
    """The text of that name, with its values."""
    return TEXTS[name].format(**values)
