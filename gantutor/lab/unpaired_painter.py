"""What the panel shows of a run of CycleGAN. Painting changes nothing in the run."""

from gantutor.configs import CycleGANConfig
from gantutor.data import Unpaired
from gantutor.lab.charts import Charts
from gantutor.lab.mosaic import mosaic, mosaic_view
from gantutor.training import Run


class UnpairedPainter:
    """Held-out pictures of each domain: translated, translated back, and through the other generator; the charts."""

    FIELDS: tuple[str, ...] = ()
    ROWS, CELL = 3, 80

    def __init__(self, data: Unpaired) -> None:
        self.A, self.B = data.test(self.ROWS)
        self.charts = Charts("cycle", "identity", reach=1.25)  # least squares pulls logits to 0 and 1
        self.views = [
            mosaic_view(
                f"{here}_to_{there}",
                f"{here} to {there}, {name_here} to {name_there}: held-out pictures",
                f"{len(images)} held-out pictures of {name_here}: real, as {name_there}, translated back, "
                f"and what the generator that makes {name_here} does to them",
                (f"real_{here}", f"fake_{there}", f"rec_{here}", f"idt_{here}"),
                images,
                self.CELL,
            )
            for here, there, name_here, name_there, images in (
                ("A", "B", *data.domains, self.A),
                ("B", "A", *data.domains[::-1], self.B),
            )
        ]
        self.views.append(self.charts.view)

    def paint(self, run: Run, names: set[str], config: CycleGANConfig) -> dict[str, bytes]:
        """PNG bytes of the views in `names`."""
        shown: dict[str, bytes] = {}
        if names & {"A_to_B", "B_to_A"}:
            translated = run.model.translate(self.A, self.B)
            shown["A_to_B"] = mosaic([self.A, translated["fake_B"], translated["rec_A"], translated["idt_A"]])
            shown["B_to_A"] = mosaic([self.B, translated["fake_A"], translated["rec_B"], translated["idt_B"]])
        if "charts" in names:
            shown["charts"] = self.charts.paint(run)
        return shown
