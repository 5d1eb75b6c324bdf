"""What a simulated echo sequence is like."""

from dataclasses import dataclass, field

from deepreg_meta.sequence.speckle import Probe, Screen


@dataclass(frozen=True)
class EchoOptions:
    """
    What a simulated sequence is like.

    :param shape: (columns, rows) of a frame.
    :param spacing_mm: side of a pixel.
    :param num_frames: T, >= 2.
    :param cycle_s: length of a heart beat.
    :param cycles: how many beats the frames cover, the end of the last one left out.
    :param probe: how tissue is imaged.
    :param echo_cavity: strength of the echoes of blood; those of muscle are 1.
    :param echo_outside: strength of those of the tissue around the heart.
    :param per_cell: scatterers in an area of the point-spread function, full widths at
        half maximum; speckle is fully developed from about 10 on.
    :param decorrelation: share in [0, 1) by which the strength of each scatterer is
        replaced from frame to frame, as blood and out-of-plane motion do.
    :param noise_db: strength of the receiver's noise beneath the mean echo of the first
        frame, < 0; None for none.
    """

    shape: tuple[int, int] = (160, 160)
    spacing_mm: float = 0.5
    num_frames: int = 24
    cycle_s: float = 0.8
    cycles: float = 1.0
    probe: Probe = field(default_factory=Probe)
    echo_cavity: float = 0.05
    echo_outside: float = 0.2
    per_cell: float = 10.0
    decorrelation: float = 0.0
    noise_db: float | None = None

    def __post_init__(self) -> None:
        """:raises ValueError: for values out of range."""
        checks = {
            "shape of two sides >= 2": len(self.shape) == 2 and min(self.shape) >= 2,
            "spacing_mm > 0": self.spacing_mm > 0,
            "num_frames >= 2": self.num_frames >= 2,
            "cycle_s > 0 and cycles > 0": self.cycle_s > 0 and self.cycles > 0,
            "echoes >= 0": min(self.echo_cavity, self.echo_outside) >= 0,
            "per_cell > 0": self.per_cell > 0,
            "0 <= decorrelation < 1": 0 <= self.decorrelation < 1,
            "noise_db < 0": self.noise_db is None or self.noise_db < 0,
        }
        wrong = [rule for rule, holds in checks.items() if not holds]
        if wrong:
            raise ValueError(f"echo: expected {', '.join(wrong)}, got {self}.")

    @property
    def screen(self) -> Screen:
        """The pixels of a frame."""
        return Screen(self.shape, (self.spacing_mm, self.spacing_mm))

    @property
    def time_step_s(self) -> float:
        """From one frame to the next."""
        return self.cycle_s * self.cycles / self.num_frames

    def phase(self, index: int) -> float:
        """Return the phase of the cycle at which a frame is taken."""
        return self.cycles * index / self.num_frames
