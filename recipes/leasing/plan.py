"""How the minutes are divided."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Plan:
    """When each part ends, in seconds from the start. measuring: seconds for it, once the text is prepared; all there are if
    nothing is trained. trained: also with its own score. What is left after scoring is for the last records.
    """

    measuring: float
    trained: float
    scored: float
    end: float

    @classmethod
    def of(cls, seconds: float, measures: bool, trains: bool) -> Plan:
        scored = seconds - min(10.0, 0.05 * seconds)
        if not trains:
            return cls(scored, scored, scored, seconds)
        return cls(min(75.0, 0.2 * seconds) if measures else 0.0, scored - min(100.0, 0.25 * seconds), scored, seconds)

    def __str__(self) -> str:
        if self.trained == self.scored:
            return f"plan: prepare the text, then measure until {clock(self.scored)}"
        return (f"plan: prepare the text; measure speed for {self.measuring:.0f} s; train until {clock(self.trained)}; "
                f"score until {clock(self.scored)}; end at {clock(self.end)}")


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
