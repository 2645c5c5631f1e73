"""The command line: `python -m gantutor train dcgan|pix2pix|cyclegan` takes the same steps as the notebooks."""

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
KIND_HELP = {
    "dcgan": "A GAN on points or small images.",
    "pix2pix": "Images to images, learnt from pairs.",
    "cyclegan": "Images to images and back, learnt without pairs.",
}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="gantutor", prog_name="gantutor")
def main() -> None:
    """How GANs train. The course itself is in notebooks/; this trains the same models without one."""


class Train(click.Group):
    """Builds the command of a kind when it is asked for: it needs torch, and `--help` should not wait for that."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(KIND_HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from gantutor.scale.command import train_command

        return train_command(cmd_name, KIND_HELP[cmd_name], CONTEXT) if cmd_name in KIND_HELP else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Models"):
            formatter.write_dl(list(KIND_HELP.items()))


@main.command("train", cls=Train)
def train_group() -> None:
    """Train a model; `train dcgan --help` and its like show what can be set."""


if __name__ == "__main__":
    main(prog_name="python -m gantutor")
